"""Ranges of a changed file whose bytes are still in another object, to be copied server side.

`copy_file_range` adds them: nothing travels until the commit, which copies from the source's
version, or until somebody writes over it. Plain state; its owner locks, and journals it (`staged`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fusefs.objects import ObjectInfo


@dataclass(frozen=True, slots=True)
class CopySource:
    """Where bytes can be copied from: those at `start` are `info`'s at `start + shift`."""

    info: ObjectInfo
    shift: int = 0


@dataclass(frozen=True, slots=True)
class CopiedRange:
    """Bytes `start` to `end` of a file are those of `source`."""

    start: int
    end: int
    source: CopySource

    def cut(self, start: int, end: int) -> "CopiedRange":
        """Return the part of it within a range."""
        return CopiedRange(max(start, self.start), min(end, self.end), self.source)


class CopiedRanges:
    """Copied ranges in the order of their place, never overlapping."""

    def __init__(self) -> None:
        self._ranges: list[CopiedRange] = []

    def __iter__(self) -> Iterator[CopiedRange]:
        return iter(self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def add(self, copied: CopiedRange) -> None:
        """Take a range in place of what was there; neighbours of one source become one."""
        self.remove(copied.start, copied.end)
        for other in list(self._ranges):
            touching = other.end == copied.start or copied.end == other.start
            if touching and _alike(other.source, copied.source):
                self._ranges.remove(other)
                start, end = min(copied.start, other.start), max(copied.end, other.end)
                copied = CopiedRange(start, end, copied.source)
        self._ranges.append(copied)
        self._ranges.sort(key=lambda each: each.start)

    def remove(self, start: int, end: int) -> None:
        """Bytes are the file's own from now on."""
        if start >= end or not self._ranges:
            return
        kept = []
        for copied in self._ranges:
            kept += [
                part
                for part in (copied.cut(0, start), copied.cut(end, copied.end))
                if part.start < part.end
            ]
        self._ranges = kept

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, CopySource | None]]:
        """Cut a range at the borders of copied ranges."""
        for copied in self._ranges:
            if copied.end <= start or copied.start >= end:
                continue
            if copied.start > start:
                yield start, copied.start, None
            low, start = max(start, copied.start), min(end, copied.end)
            yield low, start, copied.source
        if start < end:
            yield start, end, None

    def whole(self, size: int) -> ObjectInfo | None:
        """Return the source's object where the file is just the same as it."""
        if len(self._ranges) != 1:
            return None
        [copied] = self._ranges
        info = copied.source.info
        same = copied.start == 0 == copied.source.shift and copied.end == size == info.size
        return info if same else None


def _alike(one: CopySource, other: CopySource) -> bool:
    """Say whether two sources are one version of one object, at one distance."""
    versions = {(each.info.key, each.info.etag, each.shift) for each in (one, other)}
    return len(versions) == 1
