"""The listening socket, and connections on their way to becoming secure ones.

asyncio accepts whoever comes and gives a TLS handshake a minute, with buffers of a quarter of a
megabyte for each; whoever reaches the port could take a replica's memory by saying nothing. Here a
handshake has five seconds, and where too many are under way the oldest has to go: an API server's
takes milliseconds. What happens behind the handshake is `connections`' business.

Everything runs on the event loop's thread.
"""

import asyncio
import contextlib
import socket
from asyncio import sslproto
from typing import Any

from webhook.errors import SettingsError

HANDSHAKE_SECONDS = 5.0
# From one address and in all. Many API servers may share an address, behind a proxy or a node.
HANDSHAKES_PER_PEER = 64
HANDSHAKES = 128
# What one read takes off a connection, a TLS record: asyncio's own 256 KiB for each, filled with
# zeros at once, are half of the memory that a replica has if a few hundred come.
_READ = 16 * 2**10
_QUEUE = 1024
# All addresses of both families; of IPv4 alone where the kernel has nothing else.
EVERYWHERE = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - a pod's own


class Door(socket.socket):
    """A listening socket that knows which of those it let in have finished their handshake."""

    def __init__(self, family: socket.AddressFamily) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        # The far end's address and port -> the connection, the oldest first.
        self._pending: dict[Any, socket.socket] = {}

    def accept(self) -> tuple[socket.socket, Any]:
        """Let one in, at the cost of the oldest that isn't through if there are too many."""
        connection, address = super().accept()
        self._make_room(address[0])
        self._pending[address] = connection
        loop = asyncio.get_running_loop()
        loop.call_later(HANDSHAKE_SECONDS, self._give_up, address, connection)
        return connection, address

    def listen(self, _backlog: int = 0) -> None:
        """Let so many queue up; what the event loop asks for is how many it takes at a time."""
        super().listen(_QUEUE)

    def passed(self, address: Any) -> None:
        """The connection from there is secure now."""
        self._pending.pop(address, None)

    @property
    def waiting(self) -> int:
        """How many are on their way."""
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
            # Not close(): the event loop has it in its selector, and learns of the end by this.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def listen(host: str, port: int) -> Door:
    """A door at an address; `::` is all addresses of both families."""
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
