"""Which bytes a sparse staged file holds, and the disk space they take: whole pages.

The disk counts pages: one byte in each page of a file takes as much as the whole file. Space is
counted in the same way, or small writes here and there would fill a disk that counts as empty.

Not here: which bytes are dirty (zeros and copied ranges are, and take no space). Not
thread-safe: its owner locks.
"""

from collections.abc import Iterator

from fusefs.write.ranges import RangeSet

PAGE = 4096


class StoredBytes:
    """The byte ranges that were written, and the pages of the disk below them."""

    def __init__(self) -> None:
        self.bytes = RangeSet()
        self._pages = RangeSet()
        self.taken = 0  # bytes of the disk

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.bytes)

    def within(self, start: int, end: int) -> int:
        """Return how many bytes of a range are stored."""
        return self.bytes.within(start, end)

    def lacks(self, start: int, end: int) -> int:
        """Return the bytes of the disk that storing a range will take."""
        if start >= end:
            return 0
        low, high = start // PAGE * PAGE, -(-end // PAGE) * PAGE
        return high - low - self._pages.within(low, high)

    def add(self, start: int, end: int) -> int:
        """Note a range as stored; return the bytes of the disk that it took."""
        if start >= end:
            return 0
        self.bytes.add(start, end)
        new = self._pages.add(start // PAGE * PAGE, -(-end // PAGE) * PAGE)
        self.taken += new
        return new

    def remove(self, start: int, end: int) -> int:
        """Note that a range was punched out; return the bytes of the disk that this freed.

        Pages at its borders stay, though nothing may be left in them.
        """
        return self._remove(start, end, end // PAGE * PAGE)

    def cut(self, size: int, end: int) -> int:
        """Note that a file of `end` bytes was truncated; return what that freed of the disk."""
        return self._remove(size, end, -(-end // PAGE) * PAGE)

    def _remove(self, start: int, end: int, high: int) -> int:
        self.bytes.remove(start, end)
        low = -(-start // PAGE) * PAGE
        freed = self._pages.within(low, high) if low < high else 0
        self._pages.remove(low, high)
        self.taken -= freed
        return freed
