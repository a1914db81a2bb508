"""HTTP/1.1 connections to one host, kept open, with as little work per request as there can be.

Not here: what is asked and what an answer means. Any thread; one connection is used by one at a
time, the lock guards those that nobody uses. Errors are OSError.

On plain connections the kernel keeps the time limits and fills a buffer by itself, so a head is two
system calls, a body one for each `RECEIVED`. TLS has records of 16 KiB and the library's limits.
"""

import os
import select
import socket
import ssl
import struct
from collections.abc import Mapping
from functools import partial

from fusefs import locks
from fusefs.locks import Rank
from fusefs.s3.httpanswer import Answer, BrokenAnswer
from fusefs.s3.partbody import Body, PartBody

__all__ = ["LOW_WATER", "Answer", "BrokenAnswer", "Connections"]

SENT = 1 << 16  # bytes sent at once where a piece too large would look like silence
SENT_FILE = 1 << 20  # bytes of a file sent at once: what goes meanwhile is told
# Bytes of a body received at once. Somebody may wait for the first; behind them fewer calls cost
# less, though not in pieces that are small beside the kernel's buffers (256 KiB cost half more).
FIRST_RECEIVED, RECEIVED = 128 << 10, 1 << 20
# What the kernel takes of a body before the network does: the less it is, the sooner a line that is
# merely slow is told from one that is dead. It doesn't limit what is on its way.
WAITING_MOST = 128 << 10
LOW_WATER = (
    [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WAITING_MOST)]
    if hasattr(socket, "TCP_NOTSENT_LOWAT")
    else []
)
# A limit that is this part of the wanted one is left as it is: what a request has left of its
# budget is another number each time, and setting limits would be half of its system calls.
NEAR = 0.9
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
        self._idle: list[Line] = []  # the one used last is used first
        self._lock = locks.lock(Rank.LEAF)

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body = b"",
        silence: float | None = None,
    ) -> Answer:
        """Send one request and read the head of its answer.

        `silence`: seconds without a byte, either way, that are allowed this time if they are
        fewer than usual; for the answer's body, too.
        """
        told = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{method} {target} HTTP/1.1\r\n{told}\r\n".encode("latin-1")
        line = self._idle_one() or self._connected(silence)
        try:
            line.limit(_less(self._read_timeout, silence))
            line.send(head, body)
            return Answer(line, method, partial(self.give_back, line))
        except BaseException:
            line.close()
            raise

    def _idle_one(self) -> "Line | None":
        """Return a connection that the other side hasn't closed meanwhile."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                line = self._idle.pop()
            if not line.stirs():
                return line
            line.close()

    def _connected(self, silence: float | None) -> "Line":
        timeout = _less(self._connect_timeout, silence)
        sock = socket.create_connection(self._address, timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option in LOW_WATER:
                sock.setsockopt(*option)
            if self._tls is None:
                return PlainLine(sock)
            return Line(self._tls.wrap_socket(sock, server_hostname=self._address[0]))
        except BaseException:
            sock.close()
            raise

    def give_back(self, line: "Line") -> None:
        """Keep a connection whose answer was read to its end."""
        with self._lock:
            if len(self._idle) < self._most:
                self._idle.append(line)
                return
        line.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()


def _less(usual: float, allowed: float | None) -> float:
    return usual if allowed is None else min(usual, allowed)


class Line:
    """One connection; `limit` says how many seconds it may be without a byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._limit = -1.0
        self._poll = select.poll()
        self._poll.register(sock, CLOSED)

    def limit(self, seconds: float) -> None:
        """Allow so many seconds without a byte from now on, or nearly so many."""
        if not NEAR * seconds <= self._limit <= seconds:
            self._limit = seconds
            self._take_limit(seconds)

    def _take_limit(self, seconds: float) -> None:
        self._sock.settimeout(seconds)

    def stirs(self) -> bool:
        """Whether something comes though nothing was asked: its end, most likely."""
        return bool(self._poll.poll(0))

    def send(self, head: bytes, body: Body) -> None:
        """Send both; what goes at all is not too slow, however long the whole takes."""
        if isinstance(body, PartBody):
            self._send_all(memoryview(head))
            self._send_part(body)
        elif len(body) <= SENT:
            self._send_all(memoryview(head + body))
        else:
            self._send_all(memoryview(head))
            self._send_all(memoryview(body))

    def _send_all(self, data: memoryview) -> None:
        sent = 0
        while sent < len(data):
            sent += self._send(data[sent : sent + SENT])

    def _send_part(self, body: PartBody) -> None:
        for piece in body.pieces():
            self._send_all(piece)

    def _send(self, piece: memoryview) -> int:
        return self._sock.send(piece)

    def receive(self, most: int) -> bytes:
        """Return what has come, as soon as there is any; empty where the other side closed."""
        return self._sock.recv(most)

    def receive_into(self, view: memoryview) -> int:
        """Fill `view` with what has come, or with all it has room for; 0 where it was closed."""
        return self._sock.recv_into(view)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


class PlainLine(Line):
    """One without TLS: blocking, with time limits that the kernel keeps."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._piece = FIRST_RECEIVED
        sock.settimeout(None)

    def send(self, head: bytes, body: Body) -> None:
        """See `Line`."""
        self._piece = FIRST_RECEIVED
        super().send(head, body)

    def _take_limit(self, seconds: float) -> None:
        told = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000) or 1)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._sock.setsockopt(socket.SOL_SOCKET, option, told)

    def _send(self, piece: memoryview) -> int:
        try:
            return self._sock.send(piece)
        except BlockingIOError as error:
            raise self._silent() from error

    def _send_part(self, body: PartBody) -> None:
        if body.file is None:
            super()._send_part(body)
            return
        at, end = body.start, body.start + len(body)
        while at < end:
            try:
                sent = os.sendfile(self._sock.fileno(), body.file, at, min(end - at, SENT_FILE))
            except BlockingIOError as error:
                raise self._silent() from error
            if not sent:
                raise OSError(f"a file of {at} bytes where {end} are to be sent")
            at += sent

    def receive(self, most: int) -> bytes:
        """See `Line`."""
        try:
            return self._sock.recv(most)
        except BlockingIOError as error:
            raise self._silent() from error

    def receive_into(self, view: memoryview) -> int:
        """See `Line`: what has come when the limit is over, at most `RECEIVED` at once."""
        piece, self._piece = self._piece, RECEIVED
        try:
            return self._sock.recv_into(view[:piece], 0, socket.MSG_WAITALL)
        except BlockingIOError as error:
            raise self._silent() from error

    def _silent(self) -> TimeoutError:
        return TimeoutError(f"not a byte for {self._limit:g} s")
