"""Keeps one message from filling the log: some of each at once, then one in a while.

What was left out is counted, and the next line of that message that goes through has the count as
`left_out`. Critical lines always go through, for they end the process, and so does what a person
has asked for.

Threading: any thread; the lock is a leaf.
"""

import logging
import time
from collections.abc import Callable

from fusefs import locks
from fusefs.locks import Rank

# A crowd of files that fail together is logged one by one; what goes on for ever isn't.
BURST = 50
SECONDS = 5.0  # between two lines of a message whose burst is used up
ASKED_FOR = frozenset({"fusefs.run.diagnostics"})
MESSAGES = 1000  # that are remembered; their texts are constants of the code


class LogLimit(logging.Filter):
    """Lets `burst` lines of each message through, then one every `seconds`."""

    def __init__(
        self,
        burst: int = BURST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._burst, self._seconds, self._clock = burst, seconds, clock
        self._lock = locks.lock(Rank.LEAF)
        self._left: dict[tuple[str, str], tuple[float, float]] = {}  # lines, and as of when
        self._out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line goes through."""
        if record.levelno >= logging.CRITICAL or record.name in ASKED_FOR:
            return True
        key, now = (record.name, str(record.msg)), self._clock()
        with self._lock:
            if len(self._left) > MESSAGES:
                self._left.clear()
            left, then = self._left.get(key, (float(self._burst), now))
            left = min(self._burst, left + (now - then) / self._seconds)
            self._left[key] = (left - 1 if left >= 1 else left, now)
            if left < 1:
                self._out[key] = self._out.get(key, 0) + 1
                return False
            missing = self._out.pop(key, 0)
        if missing:
            record.left_out = missing
        return True
