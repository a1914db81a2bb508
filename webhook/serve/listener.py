"""The listening socket, and connections whose TLS handshake is not finished.

asyncio accepts every client and allows a handshake a minute, with buffers of 256 KiB for each;
silent clients could exhaust a replica's memory. Here a handshake has five seconds, and if too many
are pending the oldest is closed: an API server's takes milliseconds. `server` limits connections
after the handshake.

Everything runs on the event loop's thread.
"""

import asyncio
import contextlib
import gc
import socket
from asyncio import sslproto
from typing import Any

from webhook.errors import SettingsError

HANDSHAKE_SECONDS = 5.0
# From one address and in all. Many API servers may share an address, behind a proxy or a node.
HANDSHAKES_PER_PEER = 64
HANDSHAKES = 128
# Bytes of one read, a TLS record. asyncio's own 256 KiB for each connection, zeroed at once, would
# take half of a replica's memory for a few hundred clients.
_READ = 16 * 2**10
# A failed handshake leaves about 45 KiB in a cycle of references, of which the collector sees a few
# small objects only: it would come after thousands.
_FAILURES = 64
_QUEUE = 1024
# All addresses of both families; IPv4 only if the kernel has no IPv6.
EVERYWHERE = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - a pod's own


class Door(socket.socket):
    """A listening socket that tracks pending handshakes."""

    def __init__(self, family: socket.AddressFamily) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        # The peer's address and port -> the connection, the oldest first.
        self._pending: dict[Any, socket.socket] = {}
        self._unfinished = 0
        # Without a descriptor for a client asyncio logs that and pauses for a second, but first
        # tries as often as it may accept at a time, with a line for each: it is told that nobody
        # is there.
        self._failed = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; if too many handshakes are pending, close the oldest."""
        if self._failed:
            self._failed = False
            raise BlockingIOError
        try:
            connection, address = super().accept()
        except OSError as error:
            self._failed = not isinstance(error, BlockingIOError)
            raise
        self._make_room(address[0])
        self._pending[address] = connection
        self._unfinished += 1
        if self._unfinished >= _FAILURES + len(self._pending):
            self._collect()
        loop = asyncio.get_running_loop()
        loop.call_later(HANDSHAKE_SECONDS, self._give_up, address, connection)
        return connection, address

    def listen(self, _backlog: int = 0) -> None:
        """Listen with our own backlog; the event loop's is its number of accepts at a time."""
        super().listen(_QUEUE)

    def passed(self, address: Any) -> None:
        """Note that a peer's handshake is finished."""
        self._pending.pop(address, None)
        self._unfinished -= 1

    def _collect(self) -> None:
        """Free what failed handshakes left; takes milliseconds, see `heap.freeze`."""
        self._forget_closed()
        self._unfinished = len(self._pending)
        gc.collect()

    @property
    def waiting(self) -> int:
        """Number of pending handshakes."""
        self._forget_closed()
        return len(self._pending)

    def _make_room(self, host: str) -> None:
        if len(self._pending) < min(HANDSHAKES, HANDSHAKES_PER_PEER):
            return
        self._forget_closed()
        theirs = [address for address in self._pending if address[0] == host]
        if len(theirs) >= HANDSHAKES_PER_PEER:
            self._give_up(theirs[0], self._pending[theirs[0]])
        elif len(self._pending) >= HANDSHAKES:
            oldest = next(iter(self._pending))
            self._give_up(oldest, self._pending[oldest])

    def _forget_closed(self) -> None:
        closed = [at for at, connection in self._pending.items() if connection.fileno() < 0]
        for address in closed:
            del self._pending[address]

    def _give_up(self, address: Any, connection: socket.socket) -> None:
        if self._pending.get(address) is connection:
            del self._pending[address]
            # Not close(): the event loop has it in its selector, and notices the end by this.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def listen(host: str, port: int) -> Door:
    """Return a listening socket at an address; `::` is all addresses of both families."""
    sslproto.SSLProtocol.max_size = _READ
    try:
        door = Door(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            _bind(door, host, port)
        except BaseException:
            door.close()
            raise
    except (OSError, OverflowError) as error:
        raise SettingsError(f"can't listen on {host} port {port}: {error}") from error
    return door


def _bind(door: Door, host: str, port: int) -> None:
    if door.family == socket.AF_INET6:
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind((host, port))
    door.listen()
    door.setblocking(False)
