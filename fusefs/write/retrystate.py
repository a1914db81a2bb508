"""What keeps a file's changes from S3, and when to try again.

Written under the body's `commit_lock`, read by any thread.
"""

import time
from dataclasses import dataclass

HURRY = 1.0  # seconds between uploads of a file that a killed process would lose
FIRST, MOST = 1.0, 60.0  # seconds until a failed upload is tried again, doubled up to


@dataclass
class RetryState:
    """`said` is why the last try failed, "" while all is well; `retry_at` in monotonic seconds."""

    said: str = ""
    retry_at: float = float("inf")
    _pause: float = FIRST

    def failed(self, error: Exception) -> None:
        """A try failed; the next one comes later than after the one before."""
        self.said = str(error)
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
        self.said, self.retry_at, self._pause = "", float("inf"), FIRST
