"""Detects a worker that hangs: requests wait, and no work at all is done for minutes.

A slow worker still answers requests; with an unreachable store it still retries, and each request
to the store has a much shorter time limit. So neither counts as hanging.

Threading: one thread calls `hangs`.
"""

import time
from collections.abc import Callable

# Several times the longest wait of a request for the store (`--retry-for`, 30 s, and its timeouts).
HANGS_AFTER = 300.0


class Watchdog:
    """Watches `look()`: the age in seconds of the oldest request, and a progress number.

    The number grows with all work: an answer to the kernel, an answer of the store, a retry, a byte
    transferred.
    """

    def __init__(
        self,
        look: Callable[[], tuple[float, int]],
        after: float = HANGS_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._after = after
        self._clock = clock
        self._progress = -1
        self._since = clock()

    def hangs(self) -> bool:
        """Return whether a request has waited for too long without any progress."""
        oldest, progress = self._look()
        now = self._clock()
        if progress != self._progress:
            self._progress, self._since = progress, now
        return oldest > self._after and now - self._since > self._after
