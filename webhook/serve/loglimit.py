"""A rate limit for log lines of one kind: clients of the port must not flood the log.

A kind is an event of ours, of which there are a few, or a library with a level. Each has a token
bucket of lines; the first line after a gap has the number of lines left out. Safe to
share between threads: `_lock` guards the buckets.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any


@dataclass(frozen=True)
class Rate:
    """A burst of lines, and lines a second after that."""

    burst: int
    per_second: float


# A review each for the pods of a large rollout.
EVENTS = Rate(2000, 100)
# Libraries mostly warn of malformed requests.
LIBRARIES = Rate(20, 0.2)


@dataclass
class _Bucket:
    lines: float
    filled: float
    left_out: int = 0


class LineLimit:
    """Decides for each line, by its fields, whether it is written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def admit(self, fields: dict[str, Any]) -> bool:
        """Return whether to write the line; `left_out` is added if earlier lines were dropped."""
        library = fields.get("logger")
        kind = (library or "", fields["level"] if library else fields["event"])
        rate = LIBRARIES if library else EVENTS
        with self._lock:
            bucket = self._filled(kind, rate)
            if bucket.lines < 1:
                bucket.left_out += 1
                return False
            bucket.lines -= 1
            if bucket.left_out:
                fields["left_out"] = bucket.left_out
                bucket.left_out = 0
            return True

    def _filled(self, kind: tuple[str, str], rate: Rate) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(kind, _Bucket(rate.burst, now))
        bucket.lines = min(rate.burst, bucket.lines + (now - bucket.filled) * rate.per_second)
        bucket.filled = now
        return bucket
