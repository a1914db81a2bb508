"""What the keeper does, what it refuses, and how it ends."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fusefs.keeper import protocol
from fusefs.keeper.protocol import Message
from fusefs.kernel import mountcalls
from tests.fusefs.survival.pod import Pod

pytestmark = pytest.mark.mount


@pytest.fixture
def keeper(make_pod: Callable[..., Pod]) -> Pod:
    """A pod of which only the keeper runs."""
    pod = make_pod()
    pod.start_keeper()
    pod.wait_for_log('"ready"')
    return pod


@pytest.fixture
def peer(keeper: Pod) -> Iterator[socket.socket]:
    """A connection to the keeper, as the worker has it."""
    with connect(keeper) as connection:
        yield connection


def connect(pod: Pod) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(pod.keeper_socket))  # blocking: else a full backlog is EAGAIN
    connection.settimeout(5)
    return connection


def ask(peer: socket.socket, descriptor: int = -1, /, **message: object) -> tuple[Message, int]:
    protocol.send(peer, dict(message), descriptor)
    return protocol.receive(peer)


def refused(peer: socket.socket, descriptor: int = -1, /, **message: object) -> int:
    """Return the errno of a request that must be refused."""
    answer, handed = ask(peer, descriptor, **message)
    assert handed == -1 and "ok" not in answer
    return int(str(answer["error"]))


def test_a_mount_is_there_before_any_worker(keeper: Pod) -> None:
    """Its descriptor goes to who takes it, and to one at a time."""
    assert str(keeper.bus / "one") in {path for path, _ in mountcalls.fuse_mounts()}
    with connect(keeper) as first, connect(keeper) as second:
        answer, device = ask(first, op="take", name="one")
        assert os.fstat(device).st_rdev == os.makedev(10, 229)
        assert (answer["state"], answer["resumed"]) == (None, False)
        assert refused(second, op="take", name="one") == 16
        first.close()
        time.sleep(0.1)
        answer, again = ask(second, op="take", name="one")
        assert answer["resumed"] is True
        os.close(device)
        os.close(again)


def test_what_init_agreed_is_kept_for_the_next(keeper: Pod) -> None:
    """Until the mount is made anew."""
    with connect(keeper) as first:
        os.close(ask(first, op="take", name="one")[1])
        assert ask(first, op="remember", name="one", state={"minor": 7})[0] == {"ok": True}
    time.sleep(0.1)
    with connect(keeper) as second:
        answer, device = ask(second, op="take", name="one")
        assert answer["state"] == {"minor": 7}
        os.close(device)
        answer, device = ask(second, op="renew", name="one")
        assert (answer["state"], answer["resumed"]) == (None, False) or answer["resumed"] is False
        os.close(device)


def test_an_aborted_connection_is_mounted_anew_when_taken(keeper: Pod) -> None:
    """The mount is still there, and dead."""
    keeper.abort()
    with connect(keeper) as peer:
        answer, device = ask(peer, op="take", name="one")
        os.close(device)
    assert answer["resumed"] is False
    assert str(keeper.bus / "one") in {path for path, _ in mountcalls.fuse_mounts()}


def test_an_unmounted_mount_is_not_made_again(keeper: Pod) -> None:
    """Somebody took it away, which is final; what is mounted there by then stays."""
    path = str(keeper.bus / "one")
    mountcalls.unmount(path)
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    try:
        with connect(keeper) as peer:
            assert refused(peer, op="take", name="one") == errno.ESHUTDOWN
            assert ask(peer, op="status")[0]["mounts"] == {"one": "unmounted"}
        assert keeper.keeper is not None
        keeper.keeper.send_signal(signal.SIGTERM)
        assert keeper.keeper.wait(10) == 0
        assert os.path.ismount(path)
    finally:
        subprocess.run(["umount", path], check=True)


def test_everything_else_is_refused(peer: socket.socket) -> None:
    """Unknown operations and mounts, and what only the owner of a mount may ask."""
    assert refused(peer, op="exec", name="one") == 1
    assert refused(peer, op="take", name="two") == 2
    for operation in ("remember", "register", "unregister", "renew"):
        assert refused(peer, op=operation, name="one") == 1


def test_only_regular_files_are_registered(peer: socket.socket) -> None:
    """And only known registrations are given back."""
    os.close(ask(peer, op="take", name="one")[1])
    with socket.socket() as nothing:
        assert refused(peer, nothing.fileno(), op="register", name="one", tag="t") == 9
    assert refused(peer, op="register", name="one", tag="t") == 9
    assert refused(peer, op="unregister", name="one", backing=99) == 2
    with Path(sys.executable).open("rb") as file:
        assert refused(peer, file.fileno(), op="register", name="one", tag="t" * 999) == 24


def test_an_offer_must_be_a_living_fuse_connection_of_this_mount(peer: socket.socket) -> None:
    """Anything else would put a foreign descriptor into the keeper's hands."""
    offer = {"op": "offer", "name": "one", "token": "guess", "state": None, "backings": {}}
    with Path(sys.executable).open("rb") as file:
        assert refused(peer, file.fileno(), **offer) == 116
    assert refused(peer, **offer) == 116


def test_garbage_ends_the_connection_and_nothing_else(keeper: Pod) -> None:
    """The mount stays, and the next who asks is answered."""
    for garbage in (b"\0" * 100, b"[]", b"{" * 60_000, b'{"op": 7}', b'{"op": "take"}'):
        with connect(keeper) as peer:
            peer.send(garbage)
            assert peer.recv(100) == b""
    with connect(keeper) as peer:
        assert ask(peer, op="status")[0]["mounts"] == {"one": "mounted"}


def test_a_peer_that_never_reads_does_not_stop_it(keeper: Pod) -> None:
    """Its connection is dropped when its buffer is full."""
    with connect(keeper) as deaf, connect(keeper) as peer:
        deaf.settimeout(0.2)
        try:
            while True:
                protocol.send(deaf, {"op": "status"})
        except OSError:
            assert ask(peer, op="status")[0]["ok"] is True


def test_connections_have_a_limit(keeper: Pod) -> None:
    """A peer that opens one after the other can't use up the descriptors."""
    answered = 0
    with ExitStack() as peers:
        for _ in range(20):
            peer = peers.enter_context(connect(keeper))
            with suppress(OSError, EOFError):
                protocol.send(peer, {"op": "status"})
                protocol.receive(peer)
                answered += 1
    assert answered == 8


def test_other_users_are_refused(make_pod: Callable[..., Pod]) -> None:
    """SO_PEERCRED: the worker's user may ask, root for the status alone, nobody else connects."""
    pod = make_pod(worker_uid=65534)
    pod.start_keeper()
    pod.wait_for_log('"ready"')
    with connect(pod) as root:
        assert ask(root, op="status")[0]["ok"] is True
        assert refused(root, op="take", name="one") == 1
    pod.keeper_socket.chmod(0o666)
    script = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        's.connect(sys.argv[1]); s.send(b\'{"op":"status"}\'); sys.exit(len(s.recv(99)) and 7)'
    )
    for uid, code in (("12345", 0), ("65534", 7)):
        command = ["setpriv", f"--reuid={uid}", "--clear-groups", "/usr/bin/python3", "-c", script]
        done = subprocess.run([*command, pod.keeper_socket], check=False, timeout=10)
        assert done.returncode in (code, 1 if uid == "12345" else code)


def test_sigterm_unmounts_at_once(keeper: Pod) -> None:
    """Exit 0 in less than a second, with a file open and nobody serving."""
    assert keeper.keeper is not None
    hanging = subprocess.Popen(["ls", keeper.bus / "one"], stderr=subprocess.DEVNULL)
    time.sleep(0.2)
    began = time.monotonic()
    keeper.keeper.send_signal(signal.SIGTERM)
    assert keeper.keeper.wait(5) == 0 and time.monotonic() - began < 1
    assert hanging.wait(5) != 0
    assert str(keeper.bus) not in "".join(path for path, _ in mountcalls.fuse_mounts())


def test_it_works_as_the_first_process_of_a_container(make_pod: Callable[..., Pod]) -> None:
    """PID 1 ignores signals without a handler, and adopts the orphans."""
    pod = make_pod()
    pod.start_keeper("unshare", "--pid", "--fork", "--kill-child")
    assert pod.keeper is not None
    pod.wait_for_log('"ready"')
    children = Path(f"/proc/{pod.keeper.pid}/task/{pod.keeper.pid}/children").read_text()
    os.kill(int(children), signal.SIGTERM)
    assert pod.keeper.wait(5) == 0


def test_it_is_small(keeper: Pod) -> None:
    """Less than 20 MiB resident, and neither S3 nor logging libraries are loaded."""
    assert keeper.keeper is not None
    status = Path(f"/proc/{keeper.keeper.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident < 20 << 10
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, fusefs.keeper.command; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"boto3", "botocore", "structlog", "logging"} & set(loaded)
    lines = Path(protocol.__file__).with_name("keeper.py").read_text().splitlines()
    assert len(lines) < 300


def test_stale_mounts_of_a_dead_pod_are_replaced(make_pod: Callable[..., Pod]) -> None:
    """Keeper and worker died together: the next two begin anew, without a manual unmount."""
    pod = make_pod()
    pod.start()
    for process in (pod.keeper, pod.worker):
        assert process is not None
        process.kill()
        process.wait(10)
    pod.start()
    assert list((pod.bus / "one").iterdir()) == []
    paths = [path for path, _ in mountcalls.fuse_mounts()]
    assert paths.count(str(pod.bus / "one")) == 1


def probed(pod: Pod) -> tuple[int, str]:
    """Return the exit code of the keeper's probe, and what it says."""
    command = [sys.executable, "-m", "fusefs", "probe", "--keeper", "--socket", pod.keeper_socket]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.returncode, done.stderr.strip()


def test_a_probe_does_not_accept_an_orphaned_mount(pod: Pod) -> None:
    """Nobody but a stopped worker has its descriptor: were that to die, the mount would, too."""
    assert probed(pod) == (0, "")
    assert pod.worker is not None
    pod.worker.send_signal(signal.SIGSTOP)
    pod.kill_keeper()
    pod.wait_for_log('"ready"', 2)
    assert probed(pod) == (1, "one: orphaned")
    pod.worker.send_signal(signal.SIGCONT)
    pod.wait_for_log("took the mount back")
    assert probed(pod) == (0, "")


def test_a_mount_that_nobody_offers_is_made_anew(pod: Pod) -> None:
    """The worker of a pod that begins anew waits for the keeper's probe, so it can't ask."""
    for process in (pod.keeper, pod.worker):
        assert process is not None
        process.kill()
        process.wait(10)
    pod.start_keeper()
    pod.wait_for_log('"ready"', 2)
    assert probed(pod) == (1, "one: orphaned")
    pod.wait_for_log("no worker has the mount any more")
    assert probed(pod) == (0, "")
    pod.start_worker()
    pod.wait_until_well()


def test_a_wrong_configuration_ends_it_with_one_line(make_pod: Callable[..., Pod]) -> None:
    """Exit 2, nothing mounted."""
    pod = make_pod()
    pod.environment["S3MOUNT_CONFIG"] = json.dumps({"version": 1, "mounts": [{"name": "x"}]})
    pod.start_keeper()
    assert pod.keeper is not None and pod.keeper.wait(10) == 2
    assert pod.log.read_text().count("\n") == 1 and "mountpoint None" in pod.log.read_text()


def test_a_mount_that_fails_takes_the_others_back(make_pod: Callable[..., Pod]) -> None:
    """All or nothing, so that a restart begins clean."""
    pod = make_pod(names=("one", "two"))
    pod.bus.mkdir()
    (pod.bus / "two").write_text("a file, not a directory")
    pod.start_keeper()
    assert pod.keeper is not None and pod.keeper.wait(10) == 2
    assert str(pod.bus) not in "".join(path for path, _ in mountcalls.fuse_mounts())
