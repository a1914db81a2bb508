"""The connections of a worker's user to whoever keeps the mounts: accepted, heard and dropped.

Not here: what may be asked for (`requests`), the wire format (`protocol`).

Standard library only. One thread, which waits in `wait`.
"""

import os
import select
import socket

from fusefs.acceptor import Acceptor
from fusefs.keeper import protocol
from fusefs.keeper.keptmount import log
from fusefs.keeper.protocol import ProtocolError
from fusefs.keeper.requests import MountRequests

MOST_CONNECTIONS = 8


class WorkerConnections:
    """Accepts connections of the worker's user and of our own, and has their requests answered."""

    def __init__(self, requests: MountRequests, worker_uid: int) -> None:
        self._requests = requests
        self._worker_uid = worker_uid
        self._acceptor = Acceptor(_report)
        self._poll = select.poll()
        self._listener: socket.socket | None = None
        self._connections: dict[int, socket.socket] = {}

    def listen(self, listener: socket.socket) -> None:
        """Accept connections here; the listener stays the caller's."""
        self._listener = listener
        self._poll.register(listener, select.POLLIN)

    def watch(self, descriptor: int) -> None:
        """Have `wait` return when this descriptor becomes readable."""
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Look at a watched descriptor no more."""
        self._poll.unregister(descriptor)

    @property
    def count(self) -> int:
        """Number of clients that are connected."""
        return len(self._connections)

    def wait(self, milliseconds: int) -> set[int]:
        """Answer what has come in; return the watched descriptors that are readable."""
        watched = set()
        for descriptor, _ in self._poll.poll(milliseconds):
            if self._listener is not None and descriptor == self._listener.fileno():
                self._accept(self._listener)
            elif descriptor in self._connections:
                self._answer(self._connections[descriptor])
            else:
                watched.add(descriptor)
        return watched

    def close(self) -> None:
        """Hang up on everybody."""
        for peer in list(self._connections.values()):
            self._drop(peer)

    def _accept(self, listener: socket.socket) -> None:
        accepted = self._acceptor.accept(listener)
        if accepted is None:
            return
        peer, _ = accepted
        uid = protocol.peer_uid(peer)
        if uid not in (self._worker_uid, os.geteuid()) or len(self._connections) >= (
            MOST_CONNECTIONS
        ):
            log("warning", "refused a connection", uid=uid, connections=len(self._connections))
            peer.close()
            return
        peer.setblocking(False)
        self._connections[peer.fileno()] = peer
        self._poll.register(peer, select.POLLIN)

    def _drop(self, peer: socket.socket) -> None:
        self._poll.unregister(peer)
        del self._connections[peer.fileno()]
        self._requests.left(peer)
        peer.close()

    def _answer(self, peer: socket.socket) -> None:
        descriptor = -1
        try:
            message, descriptor = protocol.receive(peer)
            answer, handed = self._requests.answer(peer, message, descriptor)
            protocol.send(peer, answer, handed)
        except (EOFError, BlockingIOError, ConnectionError):
            self._drop(peer)
        except (OSError, ProtocolError) as error:
            log("warning", "dropped a connection", error=str(error))
            self._drop(peer)
        finally:
            if descriptor >= 0 and not self._requests.keeps(descriptor):
                os.close(descriptor)


def _report(error: OSError) -> None:
    log("error", "cannot accept a connection", error=str(error))
