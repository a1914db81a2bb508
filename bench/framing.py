"""Where heads and bodies of HTTP/1.1 end, read with as little work as possible. Pure.

What the benchmark's link needs and no more: heads are forwarded as they came, bodies are counted as
they are on the wire, chunk framing included. What a request asks for is named by the tests' proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from tests.proxy.operations import operation

END = b"\r\n\r\n"
BODYLESS = (b"204", b"304")
LINE_MOST = 64 << 10  # bytes of a chunk's first line, or of a trailer
COPIES: Mapping[str, str] = {"x-amz-copy-source": ""}  # the one header that decides a name


class BrokenFraming(ValueError):
    """Something that isn't HTTP/1.1 as S3 clients and stores speak it."""


def value(lower: bytes, name: bytes) -> bytes | None:
    """Return a header's value, in lower case, from a head in lower case."""
    at = lower.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    return lower[begin : lower.index(b"\r\n", begin)].strip()


def without(head: bytes, name: bytes) -> bytes:
    """Return a head without a header."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(each for each in lines if each.partition(b":")[0].lower() != name)


def name_of(head: bytes, lower: bytes) -> str:
    """Return the name of the operation that a request's head asks for."""
    method, target, _ = head[: head.index(b"\r\n")].split(b" ", 2)
    path, _, query = target.partition(b"?")
    _, _, key = path.lstrip(b"/").partition(b"/")
    names = tuple(sorted({pair.partition(b"=")[0] for pair in query.split(b"&") if pair}))
    return _named(method, bool(key), names, b"\r\nx-amz-copy-source:" in lower)


@lru_cache(1024)
def _named(method: bytes, key: bool, names: tuple[bytes, ...], copies: bool) -> str:
    query = {name.decode("latin-1"): "" for name in names}
    return operation(method.decode(), "key" if key else "", query, COPIES if copies else {})


class Body:
    """How much of what comes is a body's, as `head`, in lower case, says.

    `to_the_end`: without a length, a body ends with its connection; else there is none.
    """

    def __init__(self, lower: bytes, *, to_the_end: bool = False) -> None:
        self._chunked = value(lower, b"transfer-encoding") == b"chunked"
        length = value(lower, b"content-length")
        # Bytes that are sure to be its own; None for all that come.
        self.left: int | None = None if to_the_end else 0
        if self._chunked:
            self.left = 0
        elif length is not None:
            self.left = int(length)
        self._line = b""  # what came of a line of the chunked framing
        self._trailers = False

    @property
    def most(self) -> int | None:
        """Bytes that may be received without receiving others'; None for any number."""
        return None if self._chunked else self.left

    @property
    def over(self) -> bool:
        """Whether nothing is missing."""
        return self.left == 0 and not self._chunked

    def take(self, data: memoryview) -> int:
        """Return how many of these bytes are the body's, and note that they came."""
        if self.left is None:
            return len(data)
        if not self._chunked:
            taken = min(self.left, len(data))
            self.left -= taken
            return taken
        at = 0
        while at < len(data) and self._chunked:
            at += self._inside(data[at:]) if self.left else self._framing(data[at:])
        return at

    def _inside(self, data: memoryview) -> int:
        assert self.left is not None  # noqa: S101 - a chunk has a length
        taken = min(self.left, len(data))
        self.left -= taken
        return taken

    def _framing(self, data: memoryview) -> int:
        """Take a line that says how long the next chunk is, or is a trailer, or a part of one."""
        begun = len(self._line)
        line, end, _ = (self._line + bytes(data[:LINE_MOST])).partition(b"\n")
        if not end:
            if len(line) > LINE_MOST:
                raise BrokenFraming(f"a chunk that begins with {line[:40]!r}")
            self._line = line
            return len(line) - begun
        self._line = b""
        self._next(line.strip())
        return len(line) + 1 - begun

    def _next(self, line: bytes) -> None:
        if self._trailers:
            self._chunked = bool(line)
            return
        size = int(line.partition(b";")[0], 16)
        self.left = size + 2 if size else 0  # with the line end behind it
        self._trailers = not size
