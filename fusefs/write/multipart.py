"""A multipart upload of a file that is still being written: which of its parts S3 has already.

The file is laid over a grid whose cells are the parts to be: the number of a part follows from its
place, so parts can be sent in any order, sent again, and left to be copied from the old object.
Cells double every thousand, so that 10 000 of them reach far while a small file has small ones.

Plain state, no requests; its owner locks, and journals it (`staged`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fusefs.attributes import Posix
from fusefs.s3.store import Part
from fusefs.write.uploadplan import MAX_PART, MAX_PARTS

STEP = 1000  # cells of one size


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of `first` bytes, doubling every `STEP` up to `most`."""

    first: int
    most: int = MAX_PART

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield number and offset of the first cell of each size, and the size."""
        offset, size = 0, self.first
        for number in range(1, MAX_PARTS + 1, STEP):
            yield number, offset, size
            offset += STEP * size
            size = min(2 * size, max(self.most, self.first))

    def cell(self, number: int) -> tuple[int, int]:
        """Return start and end of a cell; cells are numbered from 1."""
        *_, (base, offset, size) = (run for run in self._runs() if run[0] <= number)
        start = offset + (number - base) * size
        return start, start + size

    def at(self, offset: int) -> int:
        """Return the number of the cell with a byte; above `MAX_PARTS` beyond the grid."""
        *_, (base, low, size) = (run for run in self._runs() if run[1] <= offset)
        return base + (offset - low) // size


@dataclass(slots=True)
class Outgoing:
    """The upload `upload` of `key`, begun with the attributes `posix`; `parts` are valid ones."""

    upload: str
    key: str
    grid: Grid
    posix: Posix | None
    parts: dict[int, Part] = field(default_factory=dict)
    _changes: dict[int, int] = field(default_factory=dict)

    def changed(self, start: int, end: int) -> None:
        """Bytes were changed: their parts have to be sent again."""
        if start >= end:
            return
        for number in range(self.grid.at(start), min(self.grid.at(end - 1), MAX_PARTS) + 1):
            self.parts.pop(number, None)
            self._changes[number] = self._changes.get(number, 0) + 1

    def has(self, start: int, end: int) -> bool:
        """Say whether a part that was sent has some of these bytes."""
        first, last = self.grid.at(start), self.grid.at(max(start, end - 1))
        return any(number in self.parts for number in range(first, min(last, MAX_PARTS) + 1))

    def changes(self, number: int) -> int:
        """Return how often a cell was changed, to be compared after it was sent."""
        return self._changes.get(number, 0)

    def reaches(self, size: int) -> bool:
        """Say whether a file of so many bytes fits the grid."""
        return self.grid.at(max(0, size - 1)) <= MAX_PARTS

    def told(self) -> dict[str, Any]:
        """Return what the journal's line says, but for the attributes: they are the record's."""
        return {"upload": self.upload, "key": self.key, "grid": [self.grid.first, self.grid.most]}

    @classmethod
    def of(cls, told: dict[str, Any], posix: Posix | None) -> "Outgoing":
        """Make what a former process journaled."""
        return cls(told["upload"], told["key"], Grid(*told["grid"]), posix)
