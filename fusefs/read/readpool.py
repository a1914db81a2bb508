"""What all contents of one reader share: where bytes come from, the cache, threads, and memory.

Parts that are over stay in memory while the disk cache can't take them, or is so small that it
would evict them unread. They go when memory is needed: first what was read to its end or that
nobody came for, then, for a reader that waits, the least recently used.

Not here: which bytes are fetched (`version`).

Threading: `lock` is the one lock of a reader. It guards contents, parts, streams and buffers, for
moments: never over a store call, a copy of bytes, or a data file. Methods need it held, but for
`room`. Order: this lock, then those of `cache` and below, of `fetcher`, of a part.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fusefs import locks
from fusefs.cache.cache import Cache
from fusefs.counters import Counters
from fusefs.locks import Rank
from fusefs.read.buffers import Buffers
from fusefs.read.fetcher import Fetcher
from fusefs.read.fetches import Fetch
from fusefs.read.nodesource import NodeBlocks, NodeSource, RangeSource

KiB, MiB = 1024, 1024 * 1024
# Seconds after which a part in memory that nobody came for may make way for read-ahead.
FORGOTTEN = 5.0
# Seconds a run counts as active after its last read.
ACTIVE = 5.0
# Seconds that a look at the disk's free space is good for.
ROOM_AGE = 0.2


@dataclass(frozen=True)
class ReadLimits:
    """How much reading may use.

    memory: bytes of all buffers together
    parallel: GETs at once; 12 connections fill about 7 Gbit/s at S3's 80 MB/s each
    part: largest GET in bytes; smaller than the 8 MiB that S3's performance guidelines name, for
        then as many as there are connections fit into the memory
    first: bytes of the first GET at a new place; one block, one round trip
    window: how far one sequential run is read ahead, in bytes
    ahead: whether it is; without, a read fetches the blocks it needs
    fill: share of the cache that a file read here and there may take to be fetched whole; 0: none
    """

    memory: int = 128 * MiB
    parallel: int = 12
    part: int = 4 * MiB
    first: int = 128 * KiB
    window: int = 64 * MiB
    ahead: bool = True
    fill: float = 0.25


class ReadPool:
    """One per reader."""

    def __init__(
        self,
        store: RangeSource,
        cache: Cache,
        limits: ReadLimits,
        counters: Counters | None = None,
        node: NodeBlocks | None = None,
    ) -> None:
        self.counters = counters or Counters()
        self.source = NodeSource(store, node, self.counters)
        self.cache = cache
        self.limits = limits
        self.lock = locks.lock(Rank.READ_POOL)
        self.moved = threading.Condition(self.lock)
        self.fetcher = Fetcher(limits.parallel)
        self.closed = False
        # Several parts must fit in memory, or nothing could be read ahead.
        self.part = max(limits.first, min(limits.part, limits.memory // 4))
        self.buffers = Buffers(limits.memory)
        self._kept: OrderedDict[Fetch, Callable[[Fetch], None]] = OrderedDict()
        self._active: OrderedDict[tuple[int, int], float] = OrderedDict()
        self._filled: dict[int, tuple[int, float]] = {}  # versions: size, and when last asked
        self._room = 0
        self._room_until = 0.0

    def room(self) -> int:
        """Return how much clean content the disk can hold now; call it without the lock."""
        now = time.monotonic()
        if now > self._room_until:
            self._room, self._room_until = self.cache.room, now + ROOM_AGE
        return self._room

    def window(self, run: tuple[int, int]) -> int:
        """Return how far a run may be read ahead, so that unread bytes aren't pushed out."""
        now = time.monotonic()
        self._active[run] = now
        self._active.move_to_end(run)
        while next(iter(self._active.values())) < now - ACTIVE:
            self._active.popitem(last=False)
        share = max(self._room, self.limits.memory) // (2 * len(self._active))
        return max(self.limits.first, min(self.limits.window, share))

    def fills(self, size: int) -> bool:
        """Return whether a version that is read here and there may be fetched whole."""
        return size <= self.limits.fill * self._room

    def filling(self, number: int, size: int) -> bool:
        """Return whether the rest of a version may be fetched, and note that it is.

        Not while others take the share of the cache: what they need would be pushed out.
        """
        now = time.monotonic()
        others = {
            each: (taken, at)
            for each, (taken, at) in self._filled.items()
            if each != number and at > now - ACTIVE
        }
        if not self.fills(size + sum(taken for taken, _ in others.values())):
            self._filled = others
            return False
        self._filled = others | {number: (size, now)}
        return True

    def make(self, start: int, stop: int, *, wanted: bool) -> Fetch | None:
        """Return a new part with a buffer, or None when memory is short."""
        size = stop - start
        self._reclaim(size, wanted=wanted)
        buffer = self.buffers.take(size)
        if buffer is None:
            return None
        part = Fetch(start, stop, memoryview(buffer)[:size], buffer)
        part.wanted = wanted
        return part

    def worth_keeping(self, part: Fetch) -> bool:
        """Return whether a part that is over is better left in memory."""
        return not part.cached or self._room < self.limits.memory

    def keep(self, part: Fetch, drop: Callable[[Fetch], None]) -> None:
        """Leave a part in memory as the one used last; `drop` is called when it has to go."""
        part.used_at = time.monotonic()
        self._kept[part] = drop
        self._kept.move_to_end(part)

    def release(self, part: Fetch) -> None:
        """Give the memory of a part back."""
        self._kept.pop(part, None)
        if part.buffer is not None:
            part.view.release()
            self.buffers.give(part.buffer)
            part.buffer = None

    def _reclaim(self, size: int, *, wanted: bool) -> None:
        if self.buffers.fits(size):
            return
        limit = time.monotonic() - FORGOTTEN
        idle = [part for part in self._kept if not part.users]
        spent = [part for part in idle if part.consumed or part.used_at < limit]
        for part in (*spent, *idle) if wanted else spent:
            if self.buffers.fits(size):
                return
            if part in self._kept:
                self._kept[part](part)
