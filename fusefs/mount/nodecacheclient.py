"""The worker's side of the node's cache: asks the plugin, and does without it when it is away.

The plugin may be dead, or stopped, at any time: an answer that doesn't come in a moment ends the
connection, and nobody asks again for a while. Until then the mount is as one without such a cache.

Not here: what is done with the blocks (`read.nodesource`), the messages (`keeper.cacheprotocol`).
Threading: any thread. `_lock` keeps a request and its answer together: it is held over that round
trip to a local process, which has a time limit.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fusefs import locks
from fusefs.cache.blockindex import Identity
from fusefs.keeper import cacheprotocol, protocol
from fusefs.keeper.protocol import Message, ProtocolError
from fusefs.locks import Rank
from fusefs.read.nodesource import Lent, Turn
from fusefs.s3.credentials import CredentialsDirectory

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

ANSWER_SECONDS = 2.0  # the plugin answers in a millisecond
# Seconds until it is asked again: after it ended, and after it was silent.
ENDED_PAUSE, SILENT_PAUSE = 1.0, 30.0
# So many times as long may it take to store blocks: 8 MiB, at a disk's least useful speed.
KEEPING = 3
NOTHING = memoryview(b"")
LEAST_SECONDS = 0.001  # a socket without any waits for ever


class NodeCacheClient:
    """One connection to the node's cache, made when it is needed; no method raises."""

    def __init__(self, path: Path, credentials: str, *, patience: float = ANSWER_SECONDS) -> None:
        """`path`: of the mount's socket. `credentials`: a `cacheprotocol.digest`, or "".

        `patience`: seconds that an answer may take.
        """
        self._path = path
        self._patience = patience
        self._credentials = credentials
        self._lock = locks.lock(Rank.LEAF)
        self._peer: socket.socket | None = None
        self._away_until = 0.0  # monotonic seconds
        self._closed = False

    @classmethod
    def of(cls, path: Path, directory: Path | None) -> "NodeCacheClient":
        """Return the client of a mount whose credentials are files of a directory, or ambient.

        Ambient ones need no digest: they are the service account's, which the plugin knows.
        """
        if directory is None:
            return cls(path, "")
        keys = CredentialsDirectory(directory).current()
        return cls(path, cacheprotocol.digest(keys.access, keys.secret))

    def find(self, version: Identity, first: int, last: int, *, doubt: bool) -> Lent | Turn | None:
        """Return what the node has or wants of these blocks; None if it doesn't answer."""
        last = min(last, first + cacheprotocol.MOST)
        request = _about(version, "find", first) | {"last": last, "doubt": doubt}
        return self._ask(request, lambda answer, fd: _found(answer, fd, last - first))

    def keep(self, version: Identity, first: int, sums: Sequence[int], data: memoryview) -> None:
        """Give the node the blocks of a turn."""
        request = _about(version, "keep", first) | {"sums": list(sums)}
        self._ask(request, _nothing, data)

    def quit(self, version: Identity, first: int, last: int) -> None:
        """Give a turn up."""
        self._ask(_about(version, "quit", first) | {"last": last}, _nothing)

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        with self._lock:
            self._hang_up()

    def _ask(
        self,
        request: Message,
        parse: Callable[[Message, int], Answer],
        data: memoryview = NOTHING,
    ) -> Answer | None:
        """Return the parsed answer; None while the plugin is away."""
        with self._lock:
            if self._closed or time.monotonic() < self._away_until:
                return None
            try:
                return parse(*self._answered(request, data))
            except TimeoutError:
                pause, why = SILENT_PAUSE, "it doesn't answer"
            except (OSError, EOFError, ProtocolError) as error:
                pause, why = ENDED_PAUSE, str(error)
            self._away_until = time.monotonic() + pause
            self._hang_up()
        log.info("the node's cache is away, the mount does without", extra={"error": why})
        return None

    def _answered(self, request: Message, data: memoryview) -> tuple[Message, int]:
        """Return an answer, by a new connection where the last one has ended since."""
        if self._peer is not None:
            try:
                return self._exchange(self._peer, request, data)
            except (ConnectionError, EOFError):
                self._hang_up()
        return self._exchange(self._connect(), request, data)

    def _connect(self) -> socket.socket:
        self._peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._peer.settimeout(self._patience)  # connecting waits while the backlog is full
        self._peer.connect(str(self._path))
        self._exchange(self._peer, {"op": "join", "credentials": self._credentials}, NOTHING)
        return self._peer

    def _exchange(
        self, peer: socket.socket, request: Message, data: memoryview
    ) -> tuple[Message, int]:
        """Send a request and the blocks that follow it; return the answer and its descriptor."""
        until = time.monotonic() + self._patience * (KEEPING if data else 1)
        peer.settimeout(self._patience)
        protocol.send(peer, request)
        for start in range(0, len(data), cacheprotocol.BLOCK):
            peer.settimeout(max(LEAST_SECONDS, until - time.monotonic()))
            peer.send(data[start : start + cacheprotocol.BLOCK])
        peer.settimeout(max(LEAST_SECONDS, until - time.monotonic()))
        answer, descriptor = protocol.receive(peer)
        if "error" in answer:
            if descriptor >= 0:
                os.close(descriptor)
            raise OSError(errno.EIO, str(answer.get("message")))
        return answer, descriptor

    def _hang_up(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


def _about(version: Identity, operation: str, first: int) -> Message:
    return {
        "op": operation,
        "key": version.key,
        "etag": version.etag,
        "size": version.size,
        "first": first,
    }


def _found(answer: Message, descriptor: int, most: int) -> Lent | Turn:
    if descriptor < 0:
        return Turn(cacheprotocol.number(answer, "fetch", 0, most))
    try:
        return Lent(descriptor, cacheprotocol.numbers(answer, "blocks")[:most])
    except ProtocolError:
        os.close(descriptor)
        raise


def _nothing(_: Message, descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
