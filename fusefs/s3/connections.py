"""HTTP/1.1 connections to one host, kept open, with as little work per request as there can be.

Not here: what is asked and what an answer means. Any thread; one connection is used by one at a
time, the lock guards those that nobody uses. Errors are OSError or http.client's.
"""

import http.client
import select
import socket
import ssl
from collections.abc import Mapping

from fusefs import locks
from fusefs.locks import Rank

PIECE = 1 << 16  # bytes of a body sent at once
# What the kernel takes of a body before the network does: the less it is, the sooner a line that is
# merely slow is told from one that is dead. It doesn't limit what is on its way.
WAITING_MOST = 128 << 10
LOW_WATER = (
    [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WAITING_MOST)]
    if hasattr(socket, "TCP_NOTSENT_LOWAT")
    else []
)
CLOSED = select.POLLIN | select.POLLHUP | select.POLLERR


class Connections:
    """The idle connections of one host; `tls` is None for plain HTTP. Times in seconds."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        connect_timeout: float,
        read_timeout: float,
        most: int,
    ) -> None:
        self._address = (host, port)
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._most = most
        self._idle: list[socket.socket] = []  # the one used last is used first
        self._lock = locks.lock(Rank.LEAF)

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | bytearray = b"",
        silence: float | None = None,
    ) -> "Answer":
        """Send one request and read the head of its answer.

        `silence`: seconds without a byte, either way, that are allowed this time if they are
        fewer than usual; for the answer's body, too.
        """
        head = [f"{method} {target} HTTP/1.1\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in headers.items()]
        head.append("\r\n")
        sock = self._idle_one() or self._connected(silence)
        try:
            sock.settimeout(_less(self._read_timeout, silence))
            _send(sock, "".join(head).encode("latin-1"), body)
            response = http.client.HTTPResponse(sock, method=method)
            response.begin()
        except BaseException:
            sock.close()
            raise
        return Answer(response, sock, self)

    def _idle_one(self) -> socket.socket | None:
        """Return a connection that the other side hasn't closed meanwhile."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                sock = self._idle.pop()
            poll = select.poll()
            poll.register(sock, CLOSED)
            if not poll.poll(0):
                return sock
            sock.close()

    def _connected(self, silence: float | None) -> socket.socket:
        timeout = _less(self._connect_timeout, silence)
        sock = socket.create_connection(self._address, timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option in LOW_WATER:
                sock.setsockopt(*option)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self._address[0])
        except BaseException:
            sock.close()
            raise
        return sock

    def give_back(self, sock: socket.socket) -> None:
        """Keep a connection whose answer was read to its end."""
        with self._lock:
            if len(self._idle) < self._most:
                self._idle.append(sock)
                return
        sock.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for sock in idle:
            sock.close()


def _less(usual: float, allowed: float | None) -> float:
    return usual if allowed is None else min(usual, allowed)


def _send(sock: socket.socket, head: bytes, body: bytes | bytearray) -> None:
    """Send head and body; what goes at all is not too slow, however long the whole takes."""
    if len(body) <= PIECE:
        head, body = head + body, b""
    for part in (memoryview(head), memoryview(body)):
        sent = 0
        while sent < len(part):
            sent += sock.send(part[sent : sent + PIECE])


class Answer:
    """An answer whose body may still be on its way."""

    def __init__(
        self, response: http.client.HTTPResponse, sock: socket.socket, home: Connections
    ) -> None:
        self._response = response
        self._sock = sock
        self._home = home
        self._released = False
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def read(self) -> bytes:
        """Return the whole body; the connection goes back."""
        try:
            body = self._response.read()
        except BaseException:
            self.close()
            raise
        self.release_conn()
        return body

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what has come of the body; 0 at its end."""
        return self._response.readinto(view)

    def close(self) -> None:
        """Give up the rest of the body, and the connection with it, unless it went back."""
        self._response.close()
        if not self._released:
            self._released = True
            self._sock.close()

    def release_conn(self) -> None:
        """The body was read: the connection may be used again, if nothing is left in it."""
        whole = self._response.isclosed() or self._response.length == 0
        if self._released or not whole or self._response.will_close:
            self.close()
            return
        self._released = True
        self._response.close()
        self._home.give_back(self._sock)
