"""Parts: ranges of one version that are on their way from the store, or wait in memory.

Parts of one version never overlap, so no byte is fetched twice; every reader that needs a byte
of a part waits for it here and copies it out of the part's buffer as soon as it has arrived.

Not here: which parts are made and when their buffers go (`version`).

Threading: `FetchMap` and the fields marked so are guarded by the reader's lock. `filled`, `error`
and `over` are written by the thread that fetches; `arrived` wakes waiters through the part's own
condition, a leaf.
"""

import mmap
from bisect import bisect_right
from collections.abc import Iterator

from fusefs import locks
from fusefs.errors import FsError
from fusefs.locks import Rank
from fusefs.read.fetcher import Job
from fusefs.read.readahead import ReadAhead
from fusefs.waiting import waits


class Fetch:
    """The bytes [start, stop) of one version, being fetched into `view`."""

    def __init__(
        self, start: int, stop: int, view: memoryview, buffer: mmap.mmap | None = None
    ) -> None:
        self.start = start
        self.stop = stop
        self.view = view
        self.buffer = buffer
        self.filled = 0
        self.error: FsError | None = None
        self.over = False
        # Guarded by the reader's lock:
        self.users = 0
        self.wanted = False  # by a reader; else read-ahead
        self.cached = False  # all of it is on disk too
        self.done = False  # over, and written to the disk as far as that is possible
        self.consumed = False  # read to its end
        self.used_at = 0.0
        self.stream: ReadAhead | None = None  # whose read-ahead it is
        self.job: Job | None = None
        self._wake = locks.condition(Rank.LEAF)
        self._wake_at: int | None = None

    def arrived(self, count: int, base: int = 0) -> None:
        """`count` bytes are there after the first `base`."""
        self.filled = max(self.filled, base + count)
        # Without the lock: who waits sets `_wake_at` first and looks at `filled` after.
        if self._wake_at is not None and self.filled >= self._wake_at:
            self._notify()

    def end(self, error: FsError | None = None) -> None:
        """No more bytes will arrive."""
        self.error = error
        self.over = True
        self._notify()

    def copy(self, offset: int, target: memoryview) -> int:
        """Copy bytes from `offset` on as soon as all that are wanted arrived; return how many.

        Fewer than wanted where the part stops or its fetch failed half-way; raises that failure
        when there are none at all.
        """
        begin = offset - self.start
        enough = min(begin + len(target), self.stop - self.start)
        self._wait(enough)
        stop = min(self.filled, enough)
        if stop <= begin:
            raise self.error or FsError(f"no bytes arrived at {offset}")
        target[: stop - begin] = self.view[begin:stop]
        return stop - begin

    def _wait(self, enough: int) -> None:
        if self.filled >= enough or self.over:
            return
        waits()
        with self._wake:
            while True:
                self._wake_at = enough if self._wake_at is None else min(enough, self._wake_at)
                if self.filled >= enough or self.over:
                    return
                self._wake.wait()

    def _notify(self) -> None:
        with self._wake:
            self._wake_at = None
            self._wake.notify_all()


class FetchMap:
    """The parts of one version in order of their place."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._parts: list[Fetch] = []

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Fetch]:
        return iter(list(self._parts))

    def at(self, offset: int) -> Fetch | None:
        """Return the part that has a byte."""
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and offset < self._parts[index].stop:
            return self._parts[index]
        return None

    def add(self, part: Fetch) -> None:
        """Add a part that overlaps no other."""
        index = bisect_right(self._starts, part.start)
        self._starts.insert(index, part.start)
        self._parts.insert(index, part)

    def remove(self, part: Fetch) -> None:
        """Remove a part."""
        index = bisect_right(self._starts, part.start) - 1
        del self._starts[index], self._parts[index]

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Return the ranges of [start, stop) that no part has."""
        found = []
        while start < stop:
            index = bisect_right(self._starts, start) - 1
            if index >= 0 and start < self._parts[index].stop:
                start = self._parts[index].stop
                continue
            following = self._starts[index + 1] if index + 1 < len(self._starts) else stop
            found.append((start, min(stop, following)))
            start = following
        return iter(found)
