"""One answer of HTTP/1.1 as it comes from a connection: its head, and its body as far as wanted.

The standard library reads a head as an e-mail's, which costs more than all else of a small request.
Here it is cut at its line ends: a head comes with one system call, and in one dictionary. What a
store never sends (folded lines, line ends without CR) is `BrokenAnswer`, so boto3's to judge.

Not here: connections and what is sent (`connections`), what an answer means (`fastpath`). Used by
one thread.
"""

from collections.abc import Callable
from typing import Protocol

HEAD_MOST = 64 << 10  # bytes of a head, as the standard library has it for a line
FIRST = 32 << 10  # bytes received at once for a head: a small body comes along
PIECE = 64 << 10  # bytes received at once of a body whose length isn't known
END = b"\r\n\r\n"
BODYLESS = (204, 304)
STRANGE = " \t"  # what a header's name never begins or ends with


class BrokenAnswer(OSError):
    """No answer, or none of HTTP/1.1."""


class Incoming(Protocol):
    """A connection an answer comes from; `connections.Line`."""

    def receive(self, most: int) -> bytes:
        """Return what has come, as soon as there is any; empty where the other side closed."""

    def receive_into(self, view: memoryview) -> int:
        """Fill `view` with what has come, or with all it has room for; 0 where it was closed."""

    def close(self) -> None:
        """Close the connection."""


class Answer:
    """An answer whose body may still be on its way; names of `headers` are in lower case.

    `keep` is called when the connection can be used again.
    """

    def __init__(self, line: Incoming, method: str, keep: Callable[[], None]) -> None:
        self._line = line
        self._keep = keep
        self._held = b""  # received and not yet looked at
        self._open = True
        self.status, self.headers = self._head()
        headers = self.headers
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        # Bytes that are left of the body, or of its chunk; None: up to the end of the connection.
        self._left: int | None = 0
        if method == "HEAD" or self.status in BODYLESS:
            self._chunked = False
        elif not self._chunked:
            self._left = _length(headers)

    def _head(self) -> tuple[int, dict[str, str]]:
        """Read the head, behind those that say only that an answer will come."""
        while True:
            start, lines = self._lines()
            version, _, told = start.partition(" ")
            if not version.startswith("HTTP/1.") or not told[:3].isdigit():
                raise BrokenAnswer(f"an answer that begins with {start[:40]!r}")
            status = int(told[:3])
            if status < 200:
                continue
            headers = {}
            for line in lines:
                name, colon, value = line.partition(":")
                if not colon or name != name.strip(STRANGE):
                    raise BrokenAnswer(f"an answer with a header line {line[:40]!r}")
                headers[name.lower()] = value.strip(STRANGE)
            close = "close" if version == "HTTP/1.0" else ""
            self._lasts = "close" not in headers.get("connection", close).lower()
            return status, headers

    def _lines(self) -> tuple[str, list[str]]:
        data = self._held
        while (end := data.find(END)) < 0:
            received = self._line.receive(FIRST)
            if not received:
                raise BrokenAnswer("the connection was closed before an answer came")
            data += received
            if len(data) > HEAD_MOST + FIRST:
                raise BrokenAnswer(f"an answer with a head of more than {HEAD_MOST} bytes")
        self._held = data[end + len(END) :]
        start, *lines = data[:end].decode("latin-1").split("\r\n")
        return start, lines

    def read(self) -> bytes:
        """Return the whole body; the connection goes back."""
        try:
            body = self._whole()
        except BaseException:
            self.close()
            raise
        self.release_conn()
        return body

    def _whole(self) -> bytes:
        if not self._chunked and self._left is not None:
            if len(self._held) == self._left:
                body, self._held, self._left = self._held, b"", 0
                return body
            return self._exactly(self._left)
        parts, piece = [], memoryview(bytearray(PIECE))
        while count := self.readinto(piece):
            parts.append(bytes(piece[:count]))
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        body, done = memoryview(bytearray(size)), 0
        while done < size:
            count = self.readinto(body[done:])
            if not count:
                raise BrokenAnswer(f"the body ended after {done} of {size} bytes")
            done += count
        return bytes(body)

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what has come of the body; 0 at its end."""
        if self._chunked and not self._left:
            self._next_chunk()
        if self._left == 0 or not view:
            return 0
        wanted = view if self._left is None else view[: self._left]
        count = self._receive_into(wanted)
        if self._left is not None:
            self._left -= count
            if self._chunked:
                self._end_chunk(count)
        return count

    def _receive_into(self, view: memoryview) -> int:
        held = self._held
        if not held:
            return self._line.receive_into(view)
        count = min(len(held), len(view))
        view[:count] = held[:count]
        self._held = held[count:]
        return count

    def _next_chunk(self) -> None:
        size = int(self._text_line().partition(b";")[0], 16)
        if size < 0:
            raise BrokenAnswer(f"a chunk of {size} bytes")
        self._left = size
        if not size:
            while self._text_line():
                """A trailer, of no use here."""
            self._chunked = False

    def _end_chunk(self, count: int) -> None:
        if not count:
            raise BrokenAnswer("the connection was closed within a chunk")
        if not self._left and self._text_line():
            raise BrokenAnswer("a chunk that is longer than it says")

    def _text_line(self) -> bytes:
        """Return the next line of what frames chunks."""
        while b"\r\n" not in self._held:
            received = self._line.receive(FIRST)
            if not received or len(self._held) > HEAD_MOST:
                raise BrokenAnswer("the connection was closed between chunks")
            self._held += received
        line, _, self._held = self._held.partition(b"\r\n")
        return line

    def close(self) -> None:
        """Give up the rest of the body, and the connection with it, unless it went back."""
        if self._open:
            self._open = False
            self._line.close()

    def release_conn(self) -> None:
        """The body was read: the connection may be used again, if nothing is left in it."""
        over = self._left == 0 and not self._chunked and not self._held
        if not over or not self._lasts:
            self.close()
        elif self._open:
            self._open = False
            self._keep()


def _length(headers: dict[str, str]) -> int | None:
    told = headers.get("content-length")
    if told is None:
        return None
    if not told.isdecimal():
        raise BrokenAnswer(f"a body of {told[:40]!r} bytes")
    return int(told)
