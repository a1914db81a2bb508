"""The state of each block of one cached version, in memory.

A block moves ABSENT -> BUSY -> CHECKED (written by us) or STORED -> CHECKED (left by a former
process, its CRC compared at the first read), and back through BUSY to ABSENT when it is evicted or
found bad. Only the thread that made a block BUSY touches its bytes, so a block is never written
and punched at the same time. No thread waits for a BUSY block: to readers and writers it is absent.

`epoch` grows whenever a block is removed: a reader without a lock compares it before and after. One
that couldn't take its answer back holds the blocks meanwhile: they aren't evicted.

Not here: bytes and files (`cachefile`).

Threading: any thread; the lock is a leaf and is held for moments, never over I/O.
"""

import re
from collections import Counter, deque

from fusefs import locks
from fusefs.cache.blockindex import STORED
from fusefs.locks import Rank

CHECKED, BUSY = 2, 3

_EMPTY = re.compile(rb"\x00+")
_UNCHECKED = re.compile(rb"\x01+")
_PRESENT = re.compile(rb"[\x01\x02]+")
_UNREADABLE = re.compile(rb"[\x00\x03]+")

Run = tuple[int, int]  # blocks [first, last)


class BlockTable:
    """States of `count` blocks, all ABSENT at first, and the order in which they were added."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.present = 0
        self.epoch = 0
        self.pinned = False
        self.suspect = False  # the disk may still have a block that was found to be damaged
        self._lock = locks.lock(Rank.LEAF)
        self._states = bytearray(count)
        self._order: deque[Run] = deque()
        self._held: Counter[int] = Counter()

    @property
    def whole(self) -> bool:
        """True while no block is missing."""
        return self.present == self.count

    @property
    def checked(self) -> bool:
        """True while no block is on the disk whose CRC has not been compared, or doesn't fit."""
        return self._states.find(STORED) < 0 and not self.suspect

    def load(self, states: bytearray, *, pinned: bool = False, checked: bool = False) -> list[Run]:
        """Take over the states found on disk; return the runs of present blocks.

        `pinned`: no block is evicted, checked or not. `checked`: all count as compared.
        """
        if checked:
            states = states.replace(bytes([STORED]), bytes([CHECKED]))
        runs = [found.span() for found in _PRESENT.finditer(states)]
        with self._lock:
            self._states = states
            self.pinned = pinned
            self.present = sum(stop - start for start, stop in runs)
            self._order = deque(runs)
        return runs

    def readable(self, first: int, last: int) -> tuple[int, bool, int]:
        """Return where the present blocks from `first` end, whether all are checked, the epoch."""
        with self._lock:
            run = _PRESENT.match(self._states, first, last)
            if run is None:
                return first, True, self.epoch
            return run.end(), self._states.find(STORED, first, run.end()) < 0, self.epoch

    def absent(self, first: int, last: int) -> list[Run]:
        """Return the runs in [first, last) that can't be read."""
        with self._lock:
            return [found.span() for found in _UNREADABLE.finditer(self._states, first, last)]

    def unchecked(self, first: int, last: int) -> list[Run]:
        """Return the runs in [first, last) whose CRC has not been compared yet."""
        with self._lock:
            return [found.span() for found in _UNCHECKED.finditer(self._states, first, last)]

    def is_checked(self, number: int) -> bool:
        """Return whether the CRC of a block on disk was compared."""
        return self._states[number] == CHECKED

    def check(self, number: int, epoch: int) -> bool:
        """Note that a block read in `epoch` has the right CRC; False if it may be gone."""
        with self._lock:
            if epoch != self.epoch:
                return False
            if self._states[number] == STORED:
                self._states[number] = CHECKED
            return True

    def claim(self, first: int, last: int) -> list[Run]:
        """Make the absent blocks in [first, last) BUSY, for writing; return them."""
        with self._lock:
            runs = [found.span() for found in _EMPTY.finditer(self._states, first, last)]
            for start, stop in runs:
                self._fill(start, stop, BUSY)
        return runs

    def claim_oldest(self, most: int) -> tuple[Run, bytes] | None:
        """Make up to `most` of the oldest blocks BUSY, for punching; return them and their states.

        None when nothing is left that isn't held, or the table is pinned.
        """
        kept: list[Run] = []
        with self._lock:
            try:
                while self._order and not self.pinned:
                    start, stop = self._order.popleft()
                    run = _PRESENT.search(self._states, start, stop)
                    if run is None:
                        continue
                    begin, end = self._not_held(run.start(), min(run.end(), run.start() + most))
                    if run.start() < begin:
                        kept.append((run.start(), begin))
                    if end < stop:
                        self._order.appendleft((end, stop))
                    if begin < end:
                        before = bytes(self._states[begin:end])
                        self._leave(begin, end)
                        return (begin, end), before
            finally:
                self._order.extendleft(reversed(kept))
        return None

    def _not_held(self, start: int, stop: int) -> Run:
        """Return the first blocks of a run that nobody holds, none from `stop` on if there are."""
        if not self._held:
            return start, stop
        while start < stop and start in self._held:
            start += 1
        end = start
        while end < stop and end not in self._held:
            end += 1
        return start, end

    def hold(self, first: int, last: int) -> bool:
        """Keep the blocks [first, last) from eviction until `let_go`; False unless all are CHECKED.

        One that is found to be damaged is absent all the same, but mustn't be punched.
        """
        with self._lock:
            if self._states.count(CHECKED, first, last) != last - first:
                return False
            self._held.update(range(first, last))
            return True

    def let_go(self, first: int, last: int) -> None:
        """End one `hold`."""
        with self._lock:
            self._held.subtract(range(first, last))
            for number in range(first, last):
                if not self._held[number]:
                    del self._held[number]

    def holds(self, number: int) -> bool:
        """Return whether somebody holds a block."""
        with self._lock:
            return number in self._held

    def claim_bad(self, number: int, epoch: int) -> bool:
        """Make a damaged block BUSY that was read in `epoch`; False if it is gone already."""
        with self._lock:
            if epoch != self.epoch or self._states[number] not in (STORED, CHECKED):
                return False
            self._leave(number, number + 1)
            return True

    def settle(self, start: int, stop: int, state: int) -> None:
        """End the BUSY time of a run: CHECKED once written, ABSENT once punched or failed."""
        with self._lock:
            self._fill(start, stop, state)
            if state == CHECKED:
                self.present += stop - start
                self._append(start, stop)

    def restore(self, start: int, before: bytes) -> None:
        """End the BUSY time of a run that couldn't be punched: its former states return."""
        with self._lock:
            self._states[start : start + len(before)] = before
            self.present += len(before)
            self._order.appendleft((start, start + len(before)))

    def pin(self) -> bool:
        """Pin all blocks against eviction; False, and no pin, unless all are checked."""
        with self._lock:
            if self._states.count(CHECKED) == self.count:
                self.pinned = True
            return self.pinned

    def _fill(self, start: int, stop: int, state: int) -> None:
        self._states[start:stop] = bytes([state]) * (stop - start)

    def _leave(self, start: int, stop: int) -> None:
        self._fill(start, stop, BUSY)
        self.present -= stop - start
        self.epoch += 1

    def _append(self, start: int, stop: int) -> None:
        if self._order and self._order[-1][1] == start:
            start = self._order.pop()[0]
        self._order.append((start, stop))
