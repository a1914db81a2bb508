"""A set of byte ranges: which bytes of a file were written.

Half-open `[start, end)`, sorted, never touching each other. Not thread-safe: its owner locks.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """Sorted, disjoint, non-adjacent ranges."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def total(self) -> int:
        """Return how many bytes are in the set."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> int:
        """Add a range; return how many bytes are new."""
        if start >= end:
            return 0
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        had = 0
        if first < last:
            had = sum(
                max(0, min(e, end) - max(s, start))
                for s, e in zip(self._starts[first:last], self._ends[first:last], strict=True)
            )
        new = end - start - had
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return new

    def remove(self, start: int, end: int) -> None:
        """Take a range out."""
        if start >= end:
            return
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        starts, ends = [], []
        for s, e in zip(self._starts[first:last], self._ends[first:last], strict=True):
            if s < start:
                starts.append(s)
                ends.append(start)
            if e > end:
                starts.append(end)
                ends.append(e)
        self._starts[first:last] = starts
        self._ends[first:last] = ends

    def clear(self) -> None:
        """Take everything out."""
        self._starts.clear()
        self._ends.clear()

    def covers(self, start: int, end: int) -> bool:
        """Say whether all of a range is in the set."""
        if start >= end:
            return True
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and self._ends[at] >= end

    def within(self, start: int, end: int) -> int:
        """Return how many bytes of a range are in the set."""
        at, total = bisect_right(self._ends, start), 0
        while at < len(self._starts) and self._starts[at] < end:
            total += min(self._ends[at], end) - max(self._starts[at], start)
            at += 1
        return total

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Cut `[start, end)` at the borders of the set; the flag says whether a piece is in it."""
        at = bisect_right(self._ends, start)
        while start < end:
            if at >= len(self._starts) or self._starts[at] >= end:
                yield start, end, False
                return
            if self._starts[at] > start:
                yield start, self._starts[at], False
                start = self._starts[at]
            stop = min(self._ends[at], end)
            yield start, stop, True
            start = stop
            at += 1
