"""Answers the worker of one mount what it asks of the node's cache.

The worker is believed what it fetched, and nothing else: whose blocks it may see is its scope,
which the plugin knows, with the digest of its credentials; it brings blocks only when it is its
turn. It gets no descriptor that it could write to, and none is taken from it.

Not here: the blocks (`nodecache`), the messages (`keeper.cacheprotocol`).
Threading: one thread for each server, with one connection at a time, so that a worker that sends
half a message holds up itself alone. `close` from any thread.
"""

import errno
import os
import select
import socket
import threading
import traceback
from contextlib import suppress

from fusefs.acceptor import Acceptor
from fusefs.cache.blockindex import BrokenIndex, Identity
from fusefs.crc32 import crc32
from fusefs.keeper import cacheprotocol, protocol
from fusefs.keeper.cacheprotocol import BLOCK, MOST, number
from fusefs.keeper.keptmount import log
from fusefs.keeper.protocol import Message, ProtocolError
from fusefs.node.nodecache import NodeCache


class CacheServer:
    """Serves the connections to a listening socket until it is closed."""

    def __init__(
        self, listener: socket.socket, scope: str, cache: NodeCache, worker_uid: int
    ) -> None:
        """`scope`: of the mount. `worker_uid`: the user whose connections are accepted."""
        self._listener = listener
        self._scope = scope
        self._cache = cache
        self._worker_uid = worker_uid
        self._peer: socket.socket | None = None
        self._closing = False
        self._acceptor = Acceptor(_report)
        self._thread = threading.Thread(target=self._run, name="cache", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up; the thread ends by itself."""
        self._closing = True
        for each in (self._listener, self._peer):
            if each is not None:
                with suppress(OSError):  # closed by now
                    each.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with self._listener:
            while not self._closing:
                try:
                    accepted = self._acceptor.accept(self._listener)
                except OSError:
                    return
                if accepted is not None:
                    self._peer = accepted[0]
                    with self._peer as peer:
                        if protocol.peer_uid(peer) in (self._worker_uid, os.geteuid()):
                            self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        """Answer one connection until it ends."""
        conversation = _Conversation(peer, self._scope, self._cache)
        try:
            while not self._closing:
                conversation.answer()
        except (EOFError, ConnectionError):
            return
        except (OSError, ProtocolError, BrokenIndex) as error:
            log("warning", "dropped a connection to the node's cache", error=str(error))
        except Exception:  # noqa: BLE001 - a bug in one answer must not end the others
            log("error", "a bug: a connection is dropped", traceback=traceback.format_exc())
        finally:
            self._cache.left(conversation)


class _Conversation:
    """One worker's requests and their answers."""

    def __init__(self, peer: socket.socket, scope: str, cache: NodeCache) -> None:
        self._peer = peer
        self._mount = scope
        self._scope = ""  # until it has joined
        self._cache = cache
        # Memory for a message is taken when there is one: most workers are idle most of the time.
        self._poll = select.poll()
        self._poll.register(peer, select.POLLIN)

    def answer(self) -> None:
        """Wait for a request and answer it; an error ends the connection."""
        self._poll.poll()
        message, surplus = protocol.receive(self._peer)
        if surplus >= 0:
            os.close(surplus)
        operation = protocol.text(message, "op")
        if operation == "join":
            credentials = protocol.text(message, "credentials")
            self._scope = cacheprotocol.scope_of(self._mount, credentials)
            protocol.send(self._peer, {"ok": True})
        elif not self._scope:
            raise ProtocolError("it hasn't joined")
        elif operation == "find":
            self._find(message)
        elif operation == "keep":
            self._keep(message)
        elif operation == "quit":
            version, first, last = self._blocks(message)
            self._cache.end(version, first, last, self)
            protocol.send(self._peer, {"ok": True})
        else:
            protocol.send(self._peer, {"error": errno.EPERM, "message": "no such request"})

    def _find(self, message: Message) -> None:
        version, first, last = self._blocks(message)
        doubt = message.get("doubt") is True
        found = self._cache.find(version, first, last, self, doubt=doubt)
        if isinstance(found, int):
            protocol.send(self._peer, {"ok": True, "fetch": found})
            return
        descriptor, sums = found
        try:
            protocol.send(self._peer, {"ok": True, "blocks": list(sums)}, descriptor)
        finally:
            os.close(descriptor)

    def _keep(self, message: Message) -> None:
        sums = cacheprotocol.numbers(message, "sums")
        version, first, last = self._blocks({**message, "last": _end(message, len(sums))})
        wanted = self._cache.may_keep(version, first, last, self)
        buffer = memoryview(bytearray(BLOCK))
        try:
            for block, checksum in zip(range(first, last), sums, strict=True):
                data = buffer[: version.length(block, block + 1)]
                if self._peer.recv_into(buffer) != len(data):
                    raise ProtocolError("a block of another length")
                if wanted and crc32(data) == checksum:
                    self._cache.keep(version, block, data)
        finally:
            self._cache.end(version, first, last, self)
        protocol.send(self._peer, {"ok": True})

    def _blocks(self, message: Message) -> tuple[Identity, int, int]:
        """Return version and blocks of a request, the key within the worker's scope."""
        size = number(message, "size", 1, cacheprotocol.LARGEST)
        key = f"{self._scope}/{protocol.text(message, 'key')}"
        version = Identity(key, protocol.text(message, "etag"), size)
        first = number(message, "first", 0, version.blocks - 1)
        last = number(message, "last", first + 1, min(version.blocks, first + MOST))
        return version, first, last


def _report(error: OSError) -> None:
    log("warning", "cannot accept a worker that asks the node's cache", error=str(error))


def _end(message: Message, count: int) -> int:
    return number(message, "first", 0, cacheprotocol.LARGEST) + count
