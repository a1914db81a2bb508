"""HTTP/1.1 connections to one host, kept open, with as little work per request as possible.

Not here: the meaning of requests and answers. Any thread: one thread at a time uses a connection;
the lock guards the idle ones. Errors are OSError.

On plain TCP the kernel enforces the time limits and fills a whole buffer per call, so a head takes
two system calls and a body one for each `RECEIVED` bytes. TLS receives records of 16 KiB, with the
time limits of the standard library.
"""

import os
import select
import socket
import ssl
import struct
from functools import partial

from fusefs import locks
from fusefs.locks import Rank
from fusefs.s3.httpanswer import Answer, BrokenAnswer
from fusefs.s3.partbody import Body, PartBody

__all__ = ["LOW_WATER", "Answer", "BrokenAnswer", "Connections"]

SENT = 1 << 16  # bytes per send(): on a slow line a larger piece would look like silence
SENT_FILE = 1 << 20  # bytes per sendfile(): it returns what it sent within the time limit
# Bytes of a body per recv(). The first are few because a reader may wait for them; then fewer calls
# cost less (256 KiB at once, little beside the kernel's buffers, cost half more).
FIRST_RECEIVED, RECEIVED = 128 << 10, 1 << 20
# Unsent bytes that the kernel accepts per connection: the fewer, the sooner a dead connection is
# distinguished from a slow one. Bytes in flight are not limited by it.
WAITING_MOST = 128 << 10
LOW_WATER = (
    [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WAITING_MOST)]
    if hasattr(socket, "TCP_NOTSENT_LOWAT")
    else []
)
# A limit of at least this share of the wanted one is left as it is: the rest of a budget differs at
# each request, and setting the limit would be half of a request's system calls.
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
        self._idle: list[Line] = []  # last in, first out
        self._lock = locks.lock(Rank.LEAF)

    def send(
        self,
        method: str,
        head: bytes,
        body: Body = b"",
        silence: float | None = None,
    ) -> Answer:
        """Send one request and read the head of its answer. Raises OSError.

        `silence`: longest time without a byte in either direction, in seconds, if shorter than
        usual; it also holds for the answer's body.
        """
        line = self._idle_one() or self._connected(silence)
        try:
            usual = self._read_timeout
            line.limit(usual if silence is None else min(usual, silence))
            line.send(head, body)
            return Answer(line, method, partial(self.give_back, line))
        except BaseException:
            line.close()
            raise

    def begin(self, head: bytes) -> "Line | None":
        """Send a request without a body on an idle connection, and don't wait for its answer.

        None where no connection is idle, or the one that was is broken.
        """
        line = self._idle_one()
        try:
            if line is not None:
                line.send_now(head)
        except OSError:
            assert line is not None  # noqa: S101 - it was sent on
            line.close()
            return None
        return line

    def _idle_one(self) -> "Line | None":
        """Return an idle connection that the server hasn't closed, or None."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                line = self._idle.pop()
            if not line.stirs():
                return line
            line.close()

    def _connected(self, silence: float | None) -> "Line":
        usual = self._connect_timeout
        timeout = usual if silence is None else min(usual, silence)
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
        """Keep a connection, whose answer was read to its end, for the next request."""
        with self._lock:
            if len(self._idle) < self._most:
                self._idle.append(line)
                return
        line.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()


class Line:
    """One connection; `limit` sets how many seconds may pass without a byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._limit = -1.0
        self._poll = select.poll()
        self._poll.register(sock, CLOSED)

    def limit(self, seconds: float) -> None:
        """Set the longest time without a byte, in seconds; a limit that is near enough is kept."""
        if not NEAR * seconds <= self._limit <= seconds:
            self._limit = seconds
            self._take_limit(seconds)

    def _take_limit(self, seconds: float) -> None:
        self._sock.settimeout(seconds)

    def stirs(self) -> bool:
        """Return whether an idle connection has input: most likely the server closed it."""
        return bool(self._poll.poll(0))

    def send(self, head: bytes, body: Body) -> None:
        """Send head and body; the time limit holds for each piece, not for the whole."""
        try:
            if not isinstance(body, (bytes, bytearray)):
                self._send_all(head)
                self._send_part(body)
            elif len(body) <= SENT:
                self._send_all(head + body)
            else:
                self._send_all(head)
                self._send_all(body)
        except BlockingIOError as error:  # the kernel's limit; TLS has the standard library's
            raise self._silent() from error

    def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        view, sent = memoryview(data), 0
        while sent < len(view):
            sent += self._sock.send(view[sent : sent + SENT])

    def _send_part(self, body: PartBody) -> None:
        for piece in body.pieces():
            self._send_all(piece)

    def receive(self, most: int) -> bytes:
        """Return at most `most` bytes, as soon as there are any; b"" where the server closed."""
        return self._sock.recv(most)

    def fileno(self) -> int:
        """Return the descriptor, for polling."""
        return self._sock.fileno()

    def send_now(self, head: bytes) -> None:
        """Send a head without waiting; OSError where it can't be sent at once."""
        self._sock.settimeout(0)
        self._limit = -1.0
        if self._sock.send(head) != len(head):
            raise BrokenAnswer("a head that doesn't fit into the socket's buffer")

    def receive_now(self, most: int) -> bytes | None:
        """Return what is there, at most `most` bytes; None for nothing yet, b"" as `receive`."""
        try:
            return self._sock.recv(most)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def receive_into(self, view: memoryview) -> int:
        """Receive into `view`; return the number of bytes, 0 where the server closed."""
        return self._sock.recv_into(view)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _silent(self) -> TimeoutError:
        return TimeoutError(f"not a byte for {self._limit:g} s")


class PlainLine(Line):
    """A connection without TLS: a blocking socket whose time limits the kernel enforces."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._piece = FIRST_RECEIVED
        sock.settimeout(None)

    def send_now(self, head: bytes) -> None:
        """See `Line`."""
        if self._sock.send(head, socket.MSG_DONTWAIT) != len(head):
            raise BrokenAnswer("a head that doesn't fit into the socket's buffer")

    def receive_now(self, most: int) -> bytes | None:
        """See `Line`."""
        try:
            return self._sock.recv(most, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def _take_limit(self, seconds: float) -> None:
        timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000) or 1)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._sock.setsockopt(socket.SOL_SOCKET, option, timeval)

    def _send_part(self, body: PartBody) -> None:
        if body.file is None:
            super()._send_part(body)
            return
        at, end = body.start, body.start + len(body)
        while at < end:
            sent = os.sendfile(self._sock.fileno(), body.file, at, min(end - at, SENT_FILE))
            if not sent:
                raise OSError(f"a file of {at} bytes where {end} are to be sent")
            at += sent

    def receive(self, most: int) -> bytes:
        """See `Line`; used for heads, and for the sizes of chunks: few bytes come next."""
        self._piece = FIRST_RECEIVED
        try:
            return self._sock.recv(most)
        except BlockingIOError as error:
            raise self._silent() from error

    def receive_into(self, view: memoryview) -> int:
        """See `Line`: waits until `view` is full or the limit is over; at most `RECEIVED` bytes."""
        piece, self._piece = self._piece, RECEIVED
        try:
            return self._sock.recv_into(view[:piece], 0, socket.MSG_WAITALL)
        except BlockingIOError as error:
            raise self._silent() from error
