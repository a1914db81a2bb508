"""A request body that is not held in memory: it is read from its source as often as needed.

It is read for the checksum, for the signature and for each attempt. A range of a file goes from
the page cache to the connection without a copy here, unless the connection is encrypted. boto3
reads any body as a file. Used by one thread at a time.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

PIECE = 1 << 16  # bytes of a body that boto3 is given at once
READ = 256 << 10  # bytes read at once: they stay in a core's cache until they are hashed or sent


class PartBody(io.RawIOBase):
    """Bytes `start` to `end` of what `fill(offset, view)` gives.

    `file` is the descriptor of a file that has the same bytes at the same offsets, if there is one.
    """

    def __init__(
        self,
        fill: Callable[[int, memoryview], None],
        start: int,
        end: int,
        file: int | None = None,
    ) -> None:
        super().__init__()
        self.start = start
        self.file = file
        self._fill = fill
        self._size = end - start
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def pieces(self) -> Iterator[memoryview]:
        """Yield all bytes, each piece valid until the next one."""
        buffer = memoryview(bytearray(min(READ, self._size)))
        for at in range(0, self._size, READ):
            piece = buffer[: self._size - at]
            self._fill(self.start + at, piece)
            yield piece

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:  # whatever has a writable buffer
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        if count:
            self._fill(self.start + self._at, view[:count])
        self._at += count
        return count


Body = bytes | bytearray | PartBody


def pieces_of(body: Body) -> Iterator[bytes | bytearray | memoryview]:
    """Yield all bytes of a body, which stays at its start."""
    if isinstance(body, (bytes, bytearray)):  # `PartBody` has an abstract class, slow to ask
        yield body
    else:
        yield from body.pieces()


def in_pieces(arguments: dict[str, Any]) -> dict[str, Any]:
    """Have a body read as it goes: one given whole must be sent within the connection's timeout."""
    body = arguments.get("Body")
    if not isinstance(body, (bytes, bytearray)) or len(body) <= PIECE:
        return arguments
    whole = memoryview(body)

    def fill(offset: int, view: memoryview) -> None:
        view[:] = whole[offset : offset + len(view)]

    return arguments | {"Body": PartBody(fill, 0, len(body))}


def rewind(body: Any) -> None:
    """Have a body of a request read from its start again."""
    if hasattr(body, "seek"):
        body.seek(0)
