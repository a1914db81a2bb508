"""Whose turn it is to fetch which blocks, so that workers of a node don't fetch the same ones.

A turn ends with its blocks kept or quit, with its worker's connection, or after some time: then the
blocks are another's to fetch.

Not here: the blocks (`nodecache`).
Threading: any thread. `_lock` guards the turns; while it is held the caller's `absent` is asked,
which takes the lock of one version's block table.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fusefs import locks
from fusefs.cache.blockindex import Identity
from fusefs.locks import Rank

# A part of 8 MiB at 1 MiB/s takes eight. Who waits gives up before.
TURN_SECONDS = 15.0
MOST_TURNS = 64  # of one worker: it has far fewer requests in flight


@dataclass(frozen=True, slots=True)
class _Turn:
    """The blocks [first, last) are fetched by `worker`."""

    first: int
    last: int
    worker: object
    until: float


class Turns:
    """The turns of all workers of a node."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = locks.lock(Rank.TURNS)
        self._turns: dict[Identity, list[_Turn]] = {}

    def take(
        self,
        version: Identity,
        first: int,
        last: int,
        worker: object,
        absent: Callable[[int, int], list[tuple[int, int]]],
    ) -> int | None:
        """Give a worker its turn; return the number of its blocks from `first` on.

        0 while others fetch the first one. None if it isn't `absent` any more.
        """
        with self._lock:
            runs = absent(first, last)
            if not runs or runs[0][0] > first:
                return None
            stop, now = runs[0][1], self._clock()
            turns = [turn for turn in self._turns.get(version, ()) if turn.until > now]
            for turn in turns:
                if turn.first <= first < turn.last:
                    return 0
                if first < turn.first < stop:
                    stop = turn.first
            if self._count(worker) >= MOST_TURNS:
                return 0
            self._turns[version] = [*turns, _Turn(first, stop, worker, now + TURN_SECONDS)]
            return stop - first

    def has(self, version: Identity, first: int, last: int, worker: object) -> bool:
        """Return whether it is this worker's turn for all of these blocks."""
        with self._lock:
            return any(
                turn.worker is worker and turn.first <= first and last <= turn.last
                for turn in self._turns.get(version, ())
            )

    def end(self, version: Identity, first: int, last: int, worker: object) -> None:
        """End a worker's turns for blocks among these."""
        self._drop(version, lambda turn: turn.worker is worker and first <= turn.first < last)

    def left(self, worker: object) -> None:
        """End all turns of a worker."""
        for version in list(self._turns):
            self._drop(version, lambda turn: turn.worker is worker)

    def _drop(self, version: Identity, over: Callable[[_Turn], bool]) -> None:
        with self._lock:
            left = [turn for turn in self._turns.get(version, ()) if not over(turn)]
            if left:
                self._turns[version] = left
            else:
                self._turns.pop(version, None)

    def _count(self, worker: object) -> int:
        return sum(turn.worker is worker for turns in self._turns.values() for turn in turns)
