"""The retry budget of a request: how long it is retried, the pauses, and the longest silence.

All attempts of one call share a budget. Only time in which no byte moves uses it up: a slow
transfer is never cut off. Seconds throughout. Values of one request, used by its thread.
"""

import random
import time
from dataclasses import dataclass

from fusefs import errors

PAUSE_FIRST, PAUSE_MOST = 0.2, 4.0  # seconds between tries of ours; boto3 has its own in each
# Answered when all is done, and some stores say nothing until then.
LONG = frozenset({"copy_object", "upload_part_copy", "complete_multipart_upload"})
# Bytes of a body that broke which count as progress: fewer each time, and it would never end.
PROGRESS = 4096
LEAST_SILENCE = 0.5  # seconds that even the last try waits for a byte


class BrokenBody(Exception):
    """A body that ended early or is damaged; its first `received` bytes are good."""

    def __init__(self, message: str, received: int) -> None:
        super().__init__(message)
        self.received = received


@dataclass(slots=True)
class RetryBudget:
    """The pauses between the tries of one request; `since` is when its trouble began.

    `limit` is for how many seconds it is tried again, `silence` for how many a store that is
    well may say nothing.
    """

    limit: float
    since: float
    silence: float
    pause: float = PAUSE_FIRST
    _began: float = 0.0
    _allowed: float = 0.0

    def left(self) -> float:
        """Return the seconds of silence that the call has left; one full one it always had."""
        return self.since + max(self.limit, self.silence) - time.monotonic()

    def begin(self, at_once: bool) -> float:
        """Begin a try; return for how many seconds the store may say nothing in it.

        Who answers `at_once` where all is well gets half of what is left, so that a connection
        that died unnoticed leaves time for another one.
        """
        self._began = now = time.monotonic()
        left = self.since + max(self.limit, self.silence) - now
        self._allowed = min(self.silence, max(left / 2 if at_once else left, LEAST_SILENCE))
        return self._allowed

    def ended(self) -> None:
        """A try failed: what it took beyond the silence it was allowed, bytes were moving."""
        self.since += max(0.0, time.monotonic() - self._began - self._allowed)
        self._began = time.monotonic()

    def moved(self) -> None:
        """Bytes came that weren't there before: the trouble, if any, begins now."""
        self.since, self.pause = time.monotonic(), PAUSE_FIRST

    def wait(self, limit: float | None = None) -> bool:
        """Sleep until the next try; False when `limit` (or the own one) would be over by then."""
        pause = self.pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        left = self.since + (self.limit if limit is None else limit) - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        self.pause = min(self.pause * 2, PAUSE_MOST)
        return True


@dataclass
class BodyAttempts:
    """The tries of one body: as many as boto3 makes of a request, and as long as an outage."""

    most: int
    budget: RetryBudget
    made: int = 0

    def wait_after(self, broken: BrokenBody) -> None:
        """Pause before a body that broke is asked for again, or give up."""
        self.made += 1
        if broken.received >= PROGRESS:
            self.budget.moved()
        left = self.budget.left()
        if left > 0 and self.made < max(2, self.most):
            time.sleep(min(0.1 * 2**self.made, 5.0, left))
        elif not self.budget.wait():
            raise errors.Unavailable(str(broken)) from broken
