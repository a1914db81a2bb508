"""A multipart upload of a file that is still being written: which of its parts S3 has already.

The file is laid over a grid whose cells are the parts to be, all of one size: the number of a part
follows from its place, so parts can be sent in any order, sent again, and left to be copied from
the old object. A file that outgrows its grid is sent anew.

Plain state, no requests; its owner locks, and journals it (`staged`).
"""

import json
from dataclasses import dataclass, field
from typing import Any

from fusefs.attributes import Posix
from fusefs.s3.uploads import UploadedPart
from fusefs.write.uploadplan import MAX_PARTS

# Grids that former versions journaled had so many cells of their first size, then larger ones.
ALIKE_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Grid:
    """`cells` of `size` bytes, numbered from 1."""

    size: int
    cells: int = MAX_PARTS

    def cell(self, number: int) -> tuple[int, int]:
        """Return start and end of a cell."""
        return (number - 1) * self.size, number * self.size

    def at(self, offset: int) -> int:
        """Return the number of the cell with a byte; above `cells` beyond the grid."""
        return offset // self.size + 1


@dataclass(slots=True)
class MultipartUpload:
    """The upload `upload` of `key`, begun with the attributes `posix`; `parts` are valid ones.

    `checked`: it was begun so that each part has a CRC32.
    """

    upload: str
    key: str
    grid: Grid
    posix: Posix | None
    checked: bool = True
    parts: dict[int, UploadedPart] = field(default_factory=dict)
    _changes: dict[int, int] = field(default_factory=dict)

    def changed(self, start: int, end: int) -> None:
        """Bytes were changed: their parts have to be sent again."""
        if start >= end:
            return
        for number in range(self.grid.at(start), min(self.grid.at(end - 1), self.grid.cells) + 1):
            self.parts.pop(number, None)
            self._changes[number] = self._changes.get(number, 0) + 1

    def has(self, start: int, end: int) -> bool:
        """Say whether a part that was sent has some of these bytes."""
        first, last = self.grid.at(start), self.grid.at(max(start, end - 1))
        return any(number in self.parts for number in range(first, min(last, self.grid.cells) + 1))

    def changes(self, number: int) -> int:
        """Return how often a cell was changed, to be compared after it was sent."""
        return self._changes.get(number, 0)

    def reaches(self, size: int) -> bool:
        """Say whether a file of so many bytes fits the grid."""
        return self.grid.at(max(0, size - 1)) <= self.grid.cells

    def as_json(self) -> dict[str, Any]:
        """Return the journal's line without the attributes, which are in the record."""
        return {
            "upload": self.upload,
            "key": self.key,
            "cell": self.grid.size,
            "crc32": self.checked,  # not written by former versions
        }

    @classmethod
    def of(cls, document: dict[str, Any], posix: Posix | None) -> "MultipartUpload":
        """Make the upload from what `as_json` returned in a former process."""
        grid = (
            Grid(document["cell"]) if "cell" in document else Grid(document["grid"][0], ALIKE_ONCE)
        )
        checked = document.get("crc32", True)
        return cls(document["upload"], document["key"], grid, posix, checked)


def replayed(
    outgoing: MultipartUpload | None, kind: bytes, rest: bytes, posix: Posix | None
) -> MultipartUpload | None:
    """Return what an upload is after a line of the journal; the form is in `stagedjournal`."""
    if kind == b"m":
        return MultipartUpload.of(json.loads(rest), posix)
    if kind == b"x" or outgoing is None:
        return None
    if kind == b"v":
        outgoing.changed(*map(int, rest.split()))
    else:
        number, etag, crc = rest.decode().split(" ")
        part = UploadedPart(int(number), etag, crc if crc != "-" else None)
        outgoing.parts[part.number] = part
    return outgoing
