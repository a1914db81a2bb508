"""What keeps a file's changes from S3, and when to try again.

Written under the file's `commit_lock`, read by any thread.
"""

import time
from dataclasses import dataclass

HURRY = 1.0  # seconds between uploads of a file that a killed process would lose
# First and longest delay before a retry, in seconds; it doubles after each failure.
FIRST, MOST = 1.0, 60.0


@dataclass
class RetryState:
    """`last_error` is "" while all is well; `retry_at` is in monotonic seconds."""

    last_error: str = ""
    retry_at: float = float("inf")
    _pause: float = FIRST

    def failed(self, error: Exception) -> None:
        """A try failed; the next one comes later than after the one before."""
        self.last_error = str(error)
        self.retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, MOST)

    def again_in(self, seconds: float) -> None:
        """Try once `seconds` have gone by."""
        self.retry_at = time.monotonic() + seconds

    def hurry(self) -> None:
        """Try soon what waits for its close, or for nothing."""
        if self.retry_at == float("inf"):
            self.again_in(HURRY)

    def over(self) -> None:
        """All is in S3."""
        self.last_error, self.retry_at, self._pause = "", float("inf"), FIRST
