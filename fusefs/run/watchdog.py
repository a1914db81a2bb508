"""Recognises a worker that hangs: requests wait, and nothing whatsoever happens for minutes.

A worker that is slow still answers something; one whose store is away still tries again, and every
request to the store has a time limit that is much shorter. So neither is taken for one that hangs.

Threading: one thread calls `hangs`.
"""

import time
from collections.abc import Callable

# Several times the longest wait of a request for the store (`--retry-for`, 30 s, and its timeouts).
HANGS_AFTER = 300.0


class Watchdog:
    """Compares what `look` returns: the oldest waiting request's seconds, and a growing number.

    The number grows with whatever the worker does: an answer to the kernel, an answer or a retry of
    the store, a byte that moved.
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
        """Return whether a request has waited for too long while nothing was done."""
        oldest, progress = self._look()
        now = self._clock()
        if progress != self._progress:
            self._progress, self._since = progress, now
        return oldest > self._after and now - self._since > self._after
