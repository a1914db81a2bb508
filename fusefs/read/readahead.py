"""How one file handle is read: where it goes on sequentially, and how far to read ahead there.

A handle may be read at several places in turn (a merge, a tar of a zip, many threads), and the
kernel's own read-ahead hands requests over in any order; so a stream follows several cursors, and a
read belongs to a cursor when it lands in or near the range that cursor has planned.

Pieces that are read ahead begin and end at multiples of their size, as far as they can. The parts
that objects were uploaded in do so, too, mostly of 8 or 16 MiB, and a store reads within one of
them faster (S3 user guide, "Performance guidelines"; SeaweedFS, whose chunks have 8 MiB, with a
quarter less CPU).

Not here: fetching (`version`). Pure arithmetic.

Threading: none of its own; every call is made under the reader's lock.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fusefs.recent import Recent

MiB = 1024 * 1024
CURSORS = 16
# Requests of the kernel's read-ahead overtake each other by a few of its largest (1 MiB) requests.
SLACK = 4 * MiB
SMALLEST_PIECE = 1 * MiB
# The window is this many times what was read in sequence: at most so much is fetched in vain, and
# a 64 MiB window is reached after four round trips.
GROWTH = 4


@dataclass(slots=True)
class Cursor:
    """One sequential run: read from `start` up to `position`, planned up to `ahead`."""

    number: int
    start: int
    position: int
    ahead: int = 0
    sequential: bool = False

    def follows(self, offset: int, end: int) -> bool:
        """Return whether a read of [offset, end) goes on where this cursor is."""
        if offset == self.position or end == self.start:
            return True
        if not self.sequential:
            return False
        return self.position - SLACK <= offset <= max(self.ahead, self.position) + SLACK


def cut(start: int, stop: int, piece: int, *, aligned: bool) -> Iterator[tuple[int, int]]:
    """Cut a range into pieces; `aligned`: those end at multiples of their size."""
    while start < stop:
        end = min(stop, start + piece - (start % piece if aligned else 0))
        yield start, end
        start = end


class ReadAhead:
    """The cursors of one file handle."""

    def __init__(self, first: int, part: int) -> None:
        self._first = first
        self._part = part
        self._cursors: Recent[int, Cursor] = Recent(CURSORS)
        self._made = 0

    @property
    def used(self) -> bool:
        """Whether anything was read."""
        return self._made > 0

    def note(self, offset: int, end: int) -> tuple[Cursor, bool]:
        """Note a read; return its cursor and whether the reader jumped to a new place."""
        for cursor in reversed(self._cursors.values()):
            if cursor.follows(offset, end):
                self._cursors.move_to_end(cursor.number)
                self._extend(cursor, offset, end)
                return cursor, False
        self._made += 1
        cursor = Cursor(self._made, offset, end)
        self._cursors[cursor.number] = cursor
        return cursor, self._made > 1

    def rewind(self, offset: int) -> None:
        """What was planned from `offset` on was given up."""
        for cursor in self._cursors.values():
            if cursor.position <= offset < cursor.ahead:
                cursor.ahead = offset

    def plan(self, cursor: Cursor, size: int, limit: int) -> tuple[int, int, int]:
        """Return what to fetch ahead now, [start, stop), and in pieces of how many bytes.

        Nothing until the run is half a first read long: who reads a header goes elsewhere next.
        The window grows with the run, from eight first reads up to `limit`. A piece is a power of
        two, and the plan ends at a multiple of it.
        """
        window = min(limit, max(8 * self._first, GROWTH * (cursor.position - cursor.start)))
        piece = min(self._part, max(min(SMALLEST_PIECE, window), window // 8))
        piece = 1 << (piece.bit_length() - 1)
        start = max(cursor.ahead, cursor.position)
        stop = min(cursor.position + window, size)
        if start < stop - stop % piece and stop < size:
            stop -= stop % piece  # a rest would be a request of its own
        enough = stop - start >= piece or start - cursor.position <= window // 4 or stop == size
        if not cursor.sequential or start >= stop or not enough:
            return start, start, piece
        cursor.ahead = stop
        return start, stop, piece

    def _extend(self, cursor: Cursor, offset: int, end: int) -> None:
        if end > cursor.position:
            forward = offset >= cursor.start
            cursor.position = end
            if forward and end - cursor.start > self._first // 2:
                cursor.sequential = True
        cursor.start = min(cursor.start, offset)
