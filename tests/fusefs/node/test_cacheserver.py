"""The plugin's side of the node's cache and the worker's client, over a real socket."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zlib import crc32

import pytest

from fusefs.cache.blockindex import BLOCK, Identity
from fusefs.keeper import cacheprotocol, protocol
from fusefs.mount.nodecacheclient import NodeCacheClient
from fusefs.node.cacheserver import CacheServer
from fusefs.node.nodecache import NodeCache, floor_of
from fusefs.read.nodesource import Lent, Turn
from tests.fusefs.listeners import failing

SIZE = 3 * BLOCK + 100
DATA = random.Random(1).randbytes(SIZE)
SUMS = [crc32(DATA[start : start + BLOCK]) for start in range(0, SIZE, BLOCK)]
VERSION = Identity("key", "etag", SIZE)

Serve = Callable[..., "Clients"]


class Clients:
    """A served socket, and who connects to it."""

    def __init__(self, path: Path, server: CacheServer) -> None:
        self.path, self.server = path, server
        self._made: list[NodeCacheClient] = []

    def client(self, credentials: str = "", **told: float) -> NodeCacheClient:
        self._made.append(NodeCacheClient(self.path, credentials, **told))
        return self._made[-1]

    def close(self) -> None:
        for client in self._made:
            client.close()
        self.server.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path."""
    with tempfile.TemporaryDirectory(prefix="cache-") as made:
        yield Path(made)


@pytest.fixture
def cache(directory: Path) -> Iterator[NodeCache]:
    cache = NodeCache(directory / "cache", 1 << 20, 0)
    yield cache
    cache.close()


@pytest.fixture
def serve(directory: Path, cache: NodeCache) -> Iterator[Serve]:
    """Serve mounts, each with a socket of its own, as it is in the pods of a node."""
    made: list[Clients] = []

    def serve(scope: str = "mount", failures: Sequence[int] = ()) -> Clients:
        path = directory / f"{len(made)}.sock"
        listener = failing(protocol.listen(str(path), os.geteuid(), 1), failures)
        made.append(Clients(path, CacheServer(listener, scope, cache, os.geteuid())))
        return made[-1]

    yield serve
    for each in made:
        each.close()


def connection() -> socket.socket:
    """Return a socket to connect to a server with."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def content(lent: Lent | Turn | None) -> bytes:
    """Return all that a descriptor gives."""
    assert isinstance(lent, Lent), lent
    try:
        return os.pread(lent.descriptor, SIZE, 0)
    finally:
        os.close(lent.descriptor)


def fill(client: NodeCacheClient, version: Identity = VERSION) -> None:
    """Fetch and keep all blocks."""
    assert client.find(version, 0, 4, doubt=False) == Turn(4)
    client.keep(version, 0, SUMS, memoryview(DATA))


def test_what_one_fetched_the_others_have(serve: Serve) -> None:
    """While it is fetched they are told to wait."""
    one, other = serve().client(), serve().client()
    assert one.find(VERSION, 1, 4, doubt=False) == Turn(3)
    assert other.find(VERSION, 1, 4, doubt=False) == Turn(0)
    one.keep(VERSION, 1, SUMS[1:], memoryview(DATA)[BLOCK:])
    found = other.find(VERSION, 1, 4, doubt=False)
    assert isinstance(found, Lent)
    assert list(found.sums) == SUMS[1:]
    assert content(found)[BLOCK:] == DATA[BLOCK:]
    assert other.find(VERSION, 0, 4, doubt=False) == Turn(1)


@pytest.mark.parametrize(
    ("scope", "credentials", "version"),
    [
        ("other", "", VERSION),
        ("mount", "other", VERSION),
        ("mount", "", Identity("key", "newer", SIZE)),
        ("mount", "", Identity("other", "etag", SIZE)),
    ],
    ids=["mount", "credentials", "etag", "key"],
)
def test_nothing_else_is_found(
    serve: Serve, scope: str, credentials: str, version: Identity
) -> None:
    """Of a mount of another scope, with another access key, of another version or key."""
    fill(serve().client())
    stranger = serve(scope).client(credentials)
    assert stranger.find(version, 0, 4, doubt=False) == Turn(4)


def test_scopes_cannot_be_put_together_from_parts() -> None:
    """Whatever the parts are, other parts are another scope."""
    assert cacheprotocol.scope_of("a", "bc") != cacheprotocol.scope_of("ab", "c")
    assert cacheprotocol.scope_of("a", "") != cacheprotocol.scope_of("a")
    assert cacheprotocol.digest("key", "one") != cacheprotocol.digest("key", "two")


def test_a_lent_descriptor_is_for_reading_only(serve: Serve) -> None:
    """And its file is the plugin's alone: it can't be opened once more for writing."""
    client = serve().client()
    fill(client)
    found = client.find(VERSION, 0, 4, doubt=False)
    assert isinstance(found, Lent)
    assert fcntl.fcntl(found.descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert os.fstat(found.descriptor).st_mode & 0o777 == 0o600
    assert content(found) == DATA


def test_blocks_that_are_not_their_checksums_are_not_kept(serve: Serve) -> None:
    """What was damaged on its way is another's turn."""
    one, other = serve().client(), serve().client()
    assert one.find(VERSION, 0, 4, doubt=False) == Turn(4)
    one.keep(VERSION, 0, [SUMS[0], 1, *SUMS[2:]], memoryview(DATA))
    found = other.find(VERSION, 0, 4, doubt=False)
    assert isinstance(found, Lent)
    assert len(found.sums) == 1
    content(found)
    assert other.find(VERSION, 1, 4, doubt=False) == Turn(1)


def test_who_has_no_turn_brings_nothing(serve: Serve) -> None:
    """Blocks are taken from whom they were asked of."""
    one, other = serve().client(), serve().client()
    assert one.find(VERSION, 0, 4, doubt=False) == Turn(4)
    other.keep(VERSION, 0, SUMS, memoryview(DATA))
    assert other.find(VERSION, 0, 4, doubt=False) == Turn(0)
    one.quit(VERSION, 0, 4)
    assert other.find(VERSION, 0, 4, doubt=False) == Turn(4)


def test_the_turns_of_a_dead_worker_are_others(serve: Serve) -> None:
    """The kernel tells the plugin."""
    one, other = serve().client(), serve().client()
    assert one.find(VERSION, 0, 4, doubt=False) == Turn(4)
    assert other.find(VERSION, 0, 4, doubt=False) == Turn(0)
    one.close()
    until = time.monotonic() + 10
    while other.find(VERSION, 0, 4, doubt=False) != Turn(4):
        assert time.monotonic() < until


def test_the_cache_keeps_its_limit(serve: Serve, cache: NodeCache) -> None:
    """What was used longest ago goes first."""
    client = serve().client()
    for number in range(4):
        fill(client, Identity(f"key{number}", "etag", SIZE))
    assert cache.held <= 1 << 20
    assert client.find(Identity("key0", "etag", SIZE), 0, 4, doubt=False) == Turn(4)
    assert content(client.find(Identity("key3", "etag", SIZE), 0, 4, doubt=False)) == DATA


def test_the_room_that_is_left_to_others_is_of_what_they_can_have() -> None:
    """Blocks that only root may use, or that a quota keeps from all, are nobody's."""
    # Block sizes; blocks: 252 in all, 205 free, of which 46 for others than root.
    disk = os.statvfs_result((1 << 30, 1 << 30, 252, 205, 46, 0, 0, 0, 0, 255))
    assert floor_of(disk, 20) == (252 - 205 + 46) * 20 * (1 << 30) // 100
    assert floor_of(disk, 20) < 46 << 30
    assert floor_of(disk, 0) == 0


BAD = {
    "not joined": {"op": "find", "key": "k", "etag": "e", "size": 1, "first": 0, "last": 1},
    "no key": {"op": "find", "etag": "e", "size": 1, "first": 0, "last": 1},
    "no size": {"op": "find", "key": "k", "etag": "e", "size": 0, "first": 0, "last": 1},
    "backwards": {"op": "find", "key": "k", "etag": "e", "size": SIZE, "first": 2, "last": 2},
    "beyond": {"op": "find", "key": "k", "etag": "e", "size": SIZE, "first": 0, "last": 5},
    "a text": {"op": "find", "key": "k", "etag": "e", "size": "1", "first": 0, "last": 1},
    "no sum": {"op": "keep", "key": "k", "etag": "e", "size": SIZE, "first": 0, "sums": [-1]},
    "no sums": {"op": "keep", "key": "k", "etag": "e", "size": SIZE, "first": 0, "sums": []},
}


@pytest.mark.parametrize("message", BAD.values(), ids=BAD.keys())
def test_a_malformed_request_ends_its_connection(serve: Serve, message: protocol.Message) -> None:
    """And nothing else: the next connection to the socket is served."""
    clients = serve()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(10)
        peer.connect(str(clients.path))
        if message is not BAD["not joined"]:
            protocol.send(peer, {"op": "join", "credentials": ""})
            assert protocol.receive(peer)[0] == {"ok": True}
        protocol.send(peer, message)
        with pytest.raises(EOFError):
            protocol.receive(peer)
    fill(clients.client())


def test_an_unknown_request_is_refused(serve: Serve) -> None:
    """A worker of another version may know more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(10)
        peer.connect(str(serve().path))
        for operation, told in (("join", "ok"), ("dance", "error")):
            protocol.send(peer, {"op": operation, "credentials": ""})
            assert told in protocol.receive(peer)[0]


def test_a_full_descriptor_table_does_not_end_the_sharing(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker waits until it is accepted; the log has one line."""
    client = serve(failures=[errno.EMFILE, errno.ENFILE, errno.ECONNABORTED]).client()
    assert client.find(VERSION, 0, 4, doubt=False) == Turn(4)
    assert capsys.readouterr().err.count("cannot accept") == 1


def test_a_worker_that_is_silent_holds_up_nobody_else(serve: Serve) -> None:
    """One says nothing, one announces blocks and sends none: other mounts are served."""
    announced = {"op": "keep", "key": "key", "etag": "etag", "size": SIZE, "first": 0}
    with connection() as silent, connection() as peer:
        silent.connect(str(serve().path))
        peer.connect(str(serve().path))
        protocol.send(peer, {"op": "join", "credentials": ""})
        protocol.receive(peer)
        protocol.send(peer, {**announced, "sums": SUMS})
        assert serve().client().find(VERSION, 0, 4, doubt=False) == Turn(4)


def test_a_plugin_that_is_silent_is_asked_once(directory: Path) -> None:
    """Then the mount does without it for a while, and nobody waits again."""
    path = directory / "silent.sock"
    listener = protocol.listen(str(path), os.geteuid(), 1)
    client = NodeCacheClient(path, "", patience=0.2)
    assert client.find(VERSION, 0, 4, doubt=False) is None
    began = time.monotonic()
    for _ in range(100):
        assert client.find(VERSION, 0, 4, doubt=False) is None
    client.keep(VERSION, 0, SUMS, memoryview(DATA))
    assert time.monotonic() - began < 0.2
    listener.close()


def test_a_plugin_that_was_restarted_is_connected_to_at_once(
    directory: Path, cache: NodeCache, serve: Serve
) -> None:
    """An idle mount notices the end of its connection at its next read only."""
    clients = serve()
    client = clients.client()
    fill(client)
    clients.server.close()
    clients.server = CacheServer(
        protocol.listen(str(clients.path), os.geteuid(), 1), "mount", cache, os.geteuid()
    )
    assert content(client.find(VERSION, 0, 4, doubt=False)) == DATA


def test_without_a_plugin_there_is_no_cache(directory: Path) -> None:
    """And no error."""
    assert NodeCacheClient(directory / "none", "").find(VERSION, 0, 4, doubt=False) is None


def test_the_cache_of_a_killed_plugin_is_used_again(directory: Path) -> None:
    """Each block is what its checksum says, or isn't there."""
    root = directory / "again"
    former = NodeCache(root, 1 << 20, 0)
    assert former.find(VERSION, 0, 4, "one", doubt=False) == 4
    former.keep(VERSION, 0, memoryview(DATA))
    former._cache._dir.close()  # what the kernel does of a killed process
    later = NodeCache(root, 1 << 20, 0)
    found = later.find(VERSION, 0, 4, "one", doubt=False)
    assert not isinstance(found, int)
    assert list(found[1]) == SUMS
    os.close(found[0])
    later.close()
