"""Messages of the handover, and the configuration that both halves read."""

import array
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusefs.errors import SetupError
from fusefs.keeper import protocol
from fusefs.keeper.protocol import ProtocolError

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a connection, as between keeper and worker."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        yield here, there


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_message_arrives_with_its_descriptor(pair: Pair) -> None:
    """As a duplicate that isn't inherited by children."""
    with open("/dev/null") as file:
        protocol.send(pair[0], {"op": "x", "n": [1]}, file.fileno())
        message, descriptor = protocol.receive(pair[1])
        assert message == {"op": "x", "n": [1]}
        assert os.fstat(descriptor) == os.fstat(file.fileno())
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_a_message_may_come_without_one(pair: Pair) -> None:
    """Then the descriptor is -1."""
    protocol.send(pair[0], {})
    assert protocol.receive(pair[1]) == ({}, -1)


def test_the_end_of_the_peer_is_told_apart(pair: Pair) -> None:
    """EOFError: nothing will come any more."""
    pair[0].close()
    with pytest.raises(EOFError):
        protocol.receive(pair[1])


@pytest.mark.parametrize("garbage", [b"\0", b"{", b"[]", b"1", b"null", b"[" * 50_000, b"\xff\xfe"])
def test_garbage_is_no_message(pair: Pair, garbage: bytes) -> None:
    """Whatever JSON makes of it."""
    pair[0].send(garbage)
    with pytest.raises(ProtocolError):
        protocol.receive(pair[1])


def test_a_message_too_long_is_refused(pair: Pair) -> None:
    """Rather than cut."""
    pair[0].send(json.dumps({"x": "y" * protocol.LARGEST}).encode())
    with pytest.raises(ProtocolError):
        protocol.receive(pair[1])


@pytest.mark.parametrize("count", [2, 4, 50])
def test_descriptors_nobody_asked_for_are_closed(pair: Pair, count: int) -> None:
    """However many: none stays open."""
    before = open_descriptors()
    rights = array.array("i", [pair[0].fileno()] * count)
    pair[0].sendmsg([b"{}"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(ProtocolError):
        protocol.receive(pair[1])
    assert open_descriptors() == before


def test_a_descriptor_beside_garbage_is_closed(pair: Pair) -> None:
    """An error leaves nothing behind."""
    before = open_descriptors()
    rights = array.array("i", [pair[0].fileno()])
    pair[0].sendmsg([b"garbage"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(ProtocolError):
        protocol.receive(pair[1])
    assert open_descriptors() == before


def test_the_peers_user_is_known(pair: Pair) -> None:
    """From the kernel, not from the peer."""
    assert protocol.peer_uid(pair[0]) == os.geteuid()


def document(**mount: object) -> str:
    return json.dumps({"version": 1, "mounts": [{"name": "a", "mountpoint": "/bus/a"} | mount]})


def test_a_configuration_keeps_what_only_the_worker_knows() -> None:
    """The bucket, for example."""
    assert protocol.parse_document(document(bucket="b"))[0]["bucket"] == "b"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "version"),
        ('{"version": 2, "mounts": [{}]}', "version"),
        ('{"version": 1, "mounts": []}', "version"),
        ('{"version": 1, "mounts": [7]}', "not an object"),
        (document(name=""), "name"),
        (document(name=7), "name"),
        (document(mountpoint="bus"), "absolute"),
        (document(mountpoint="/bus/../a"), "absolute"),
        (document(mountpoint="/"), "mounted on"),
        (document(readOnly="yes"), "readOnly"),
    ],
)
def test_a_wrong_configuration_is_told_in_a_line(text: str, told: str) -> None:
    """Naming the mount where there is one."""
    with pytest.raises(SetupError, match=told):
        protocol.parse_document(text)


@pytest.mark.parametrize("key", ["name", "mountpoint"])
def test_two_mounts_must_differ(key: str) -> None:
    """In name and in place."""
    first = {"name": "a", "mountpoint": "/bus/a"}
    second = {"name": "b", "mountpoint": "/bus/b"} | {key: first[key]}
    with pytest.raises(SetupError, match=f"same {key}"):
        protocol.parse_document(json.dumps({"version": 1, "mounts": [first, second]}))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_any_json_is_a_configuration_or_a_setup_error(value: object) -> None:
    """Never another exception."""
    for text in (json.dumps(value), json.dumps({"version": 1, "mounts": value})):
        with pytest.raises(SetupError):
            protocol.parse_document(text)


def test_the_configuration_comes_from_a_file_or_the_environment() -> None:
    """A file that isn't there is named."""
    assert protocol.read_document({"S3MOUNT_CONFIG": "{}"}, None) == "{}"
    with pytest.raises(SetupError, match="S3MOUNT_CONFIG"):
        protocol.read_document({}, None)
    with pytest.raises(SetupError, match=r"/nowhere can't be read: No such file or directory$"):
        protocol.read_document({}, "/nowhere")


def test_a_link_in_place_of_the_socket_is_not_followed(tmp_path: Path) -> None:
    """The worker can write in the socket's directory: what it links to keeps mode and owner."""
    victim = tmp_path / "victim"
    victim.write_text("secret")
    victim.chmod(0o640)
    (tmp_path / "run").mkdir()
    socket_path = tmp_path / "run/keeper.sock"
    socket_path.symlink_to(victim)
    with protocol.listen(str(socket_path), os.getuid(), 1):
        assert socket_path.is_socket() and not socket_path.is_symlink()
        assert socket_path.stat().st_mode & 0o777 == 0o600
    assert victim.stat().st_mode & 0o777 == 0o640


def test_a_socket_that_was_replaced_is_not_given_away(tmp_path: Path) -> None:
    """Between bind and chmod the worker may rename something over it: EPERM, and nothing done."""
    victim = tmp_path / "victim"
    victim.write_text("secret")
    victim.chmod(0o640)
    (tmp_path / "keeper.sock").symlink_to(victim)
    entry = os.open(tmp_path / "keeper.sock", os.O_PATH | os.O_NOFOLLOW)
    with pytest.raises(PermissionError, match="somebody replaced the socket"):
        protocol._give(entry, "keeper.sock", 65534)
    os.close(entry)
    assert victim.stat().st_mode & 0o777 == 0o640


def test_a_path_longer_than_that_of_a_socket_may_be(tmp_path: Path) -> None:
    """The directory may be any: only its descriptor is named to bind(2)."""
    deep = tmp_path / ("d" * 120)
    with protocol.listen(str(deep / "keeper.sock"), os.getuid(), 1):
        assert (deep / "keeper.sock").is_socket()
