"""How long a request is tried again, and with which pauses.

Values of one request, used by its thread.
"""

import random
import time
from dataclasses import dataclass

from fusefs import errors

PAUSE_FIRST, PAUSE_MOST = 0.2, 4.0  # seconds between tries of ours; boto3 has its own in each


class Broken(Exception):
    """A body that ended early or is damaged; its first `received` bytes are good."""

    def __init__(self, message: str, received: int) -> None:
        super().__init__(message)
        self.received = received


@dataclass
class Patience:
    """The pauses between the tries of one request; `since` is when its trouble began."""

    limit: float
    since: float
    pause: float = PAUSE_FIRST

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
class Tries:
    """The tries of one body: as many as boto3 makes of a request, and as long as an outage."""

    most: int
    patience: Patience
    made: int = 0

    def wait_after(self, broken: Broken) -> None:
        """Pause before a body that broke is asked for again, or give up."""
        self.made += 1
        if self.made < max(2, self.most):
            time.sleep(min(0.1 * 2**self.made, 5.0))
        elif not self.patience.wait():
            raise errors.Unavailable(str(broken)) from broken
