"""Histograms of how long things took, by a short closed key: plain numbers, exported by `metrics`.

Not here: names and formats of metrics (`mount.metrictable`), plain counts (`counters`).

Threading: any thread; the lock is a leaf. One note takes about a microsecond: a bisect and
three sums, so it is done for each file operation and each request.
"""

from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fusefs import locks
from fusefs.locks import Rank

Key = TypeVar("Key", bound=Hashable)

# Seconds: from an answer out of memory (0.1 ms) over a round trip of S3 (20 ms) to a retry budget.
BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)


@dataclass(slots=True)
class Durations:
    """What was noted of one key: how many up to each bound, the last beyond all; seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0
    longest: float = 0.0


class Timings(Generic[Key]):
    """The histograms of one kind of thing, by key; they only grow."""

    def __init__(self) -> None:
        self._lock = locks.lock(Rank.LEAF)
        self._noted: dict[Key, Durations] = {}

    def note(self, key: Key, seconds: float) -> None:
        """Count one that took so long."""
        at = bisect_left(BOUNDS, seconds)
        with self._lock:
            noted = self._noted.get(key)
            if noted is None:
                noted = self._noted[key] = Durations()
            noted.counts[at] += 1
            noted.total += seconds
            if seconds > noted.longest:
                noted.longest = seconds

    def read(self) -> dict[Key, Durations]:
        """Return what was noted until now, by key."""
        with self._lock:
            return {
                key: Durations(list(each.counts), each.total, each.longest)
                for key, each in self._noted.items()
            }
