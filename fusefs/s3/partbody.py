"""The body of a part too large for memory, as the file boto3 reads it from.

Read from the start as often as needed: for the checksum, the signature, and each try. Used by one
thread at a time.
"""

import io
from collections.abc import Callable
from typing import Any

from fusefs.s3.connections import PIECE


class PartBody(io.RawIOBase):
    """Bytes `start` to `end` of what `fill(offset, view)` gives."""

    def __init__(self, fill: Callable[[int, memoryview], None], start: int, end: int) -> None:
        super().__init__()
        self._fill = fill
        self._start = start
        self._size = end - start
        self._at = 0

    def __len__(self) -> int:
        return self._size

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
            self._fill(self._start + self._at, view[:count])
        self._at += count
        return count


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
