"""One HTTP/1.1 answer, read from a connection: its head at once, its body as the caller reads it.

The standard library parses a head like an e-mail's, which costs more than all else of a small
request. Here it is split at its line ends: a head takes one system call and one dictionary. What no
store sends (folded lines, line ends without CR) raises `BrokenAnswer`, and boto3 gets the request.

Not here: connections and sending (`connections`), the meaning of an answer (`fastpath`). One thread
uses an answer.
"""

from collections.abc import Callable
from typing import Protocol

HEAD_MOST = 64 << 10  # bytes of a head; the standard library's limit for one line
FIRST = 32 << 10  # bytes per recv() for a head: a small body comes with it
PIECE = 64 << 10  # bytes per recv() of a body of unknown length
END = b"\r\n\r\n"
BODYLESS = (204, 304)
STRANGE = " \t"  # a header's name never begins or ends with these


class BrokenAnswer(OSError):
    """The connection was closed too early, or the answer isn't valid HTTP/1.1."""


class Incoming(Protocol):
    """A connection that an answer is read from; `connections.Line`."""

    def receive(self, most: int) -> bytes:
        """Return at most `most` bytes, as soon as there are any; b"" where the server closed."""

    def receive_into(self, view: memoryview) -> int:
        """Receive into `view`; return the number of bytes, 0 where the server closed."""

    def close(self) -> None:
        """Close the connection."""


class Answer:
    """An answer whose body may not have been received yet; names in `headers` are in lower case.

    `keep` is called when the connection can be reused; `held` was received before. Reading raises
    OSError, and ValueError for a malformed chunk size.
    """

    def __init__(
        self, line: Incoming, method: str, keep: Callable[[], None], held: bytes = b""
    ) -> None:
        self._line = line
        self._keep = keep
        self._held = held  # received, not parsed yet
        self._open = True
        self.status, self.headers = self._head()
        headers = self.headers
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        # Bytes left of the body, or of its chunk; None: the body ends with the connection.
        self._left: int | None = 0
        if method == "HEAD" or self.status in BODYLESS:
            self._chunked = False
        elif not self._chunked:
            length = headers.get("content-length")
            if length is not None and not length.isdecimal():
                raise BrokenAnswer(f"a body of {length[:40]!r} bytes")
            self._left = None if length is None else int(length)

    def _head(self) -> tuple[int, dict[str, str]]:
        """Return status and headers of the final answer; interim answers (1xx) are skipped."""
        data = self._held
        while True:
            while (end := data.find(END)) < 0:
                received = self._line.receive(FIRST)
                if not received:
                    raise BrokenAnswer("the connection was closed before an answer came")
                data += received
                if len(data) > HEAD_MOST + FIRST:
                    raise BrokenAnswer(f"an answer with a head of more than {HEAD_MOST} bytes")
            start, *lines = data[:end].decode("latin-1").split("\r\n")
            self._held = data = data[end + len(END) :]
            version, _, code = start.partition(" ")
            if not version.startswith("HTTP/1.") or not code[:3].isdigit():
                raise BrokenAnswer(f"an answer that begins with {start[:40]!r}")
            status = int(code[:3])
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

    def read(self) -> bytes:
        """Return the whole body and release the connection."""
        if len(self._held) == self._left and not self._chunked:
            body, self._held, self._left = self._held, b"", 0
        else:
            try:
                body = self._rest()
            except BaseException:
                self.close()
                raise
        self.release_conn()
        return body

    def _rest(self) -> bytes:
        if not self._chunked and self._left is not None:
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
        """Read the next bytes of the body into `view`; return their number, 0 at its end."""
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
        buffered = self._held
        if not buffered:
            return self._line.receive_into(view)
        count = min(len(buffered), len(view))
        view[:count] = buffered[:count]
        self._held = buffered[count:]
        return count

    def _next_chunk(self) -> None:
        size = int(self._text_line().partition(b";")[0], 16)
        if size < 0:
            raise BrokenAnswer(f"a chunk of {size} bytes")
        self._left = size
        if not size:
            while self._text_line():
                """A trailer field: ignored."""
            self._chunked = False

    def _end_chunk(self, count: int) -> None:
        if not count:
            raise BrokenAnswer("the connection was closed within a chunk")
        if not self._left and self._text_line():
            raise BrokenAnswer("a chunk that is longer than it says")

    def _text_line(self) -> bytes:
        """Return the next line of the chunked framing."""
        while b"\r\n" not in self._held:
            received = self._line.receive(FIRST)
            if not received or len(self._held) > HEAD_MOST:
                raise BrokenAnswer("the connection was closed between chunks")
            self._held += received
        line, _, self._held = self._held.partition(b"\r\n")
        return line

    def close(self) -> None:
        """Close the connection, without reading the rest of the body, unless it was released."""
        if self._open:
            self._open = False
            self._line.close()

    def release_conn(self) -> None:
        """Release the connection for reuse if the body was read to its end; close it if not."""
        over = self._left == 0 and not self._chunked and not self._held
        if not over or not self._lasts:
            self.close()
        elif self._open:
            self._open = False
            self._keep()
