"""Whether the store answers, and what its clock says: both from the responses to other requests.

Times are in seconds, moments on the monotonic clock. Any thread: each number is replaced in one
step.
"""

import time
from collections.abc import Mapping

from fusefs.s3.responses import skew_of


class StorePresence:
    """The state of one store."""

    def __init__(self) -> None:
        self._answered = time.monotonic()
        self.away_since: float | None = None  # since when the store doesn't answer
        self._date = ""  # of the last response; whole seconds, so its first one is the closest
        self._skew = 0.0

    def answered(self, headers: Mapping[str, str]) -> None:
        """Note a response; its `Date` header, if any, sets the clock."""
        self._answered, self.away_since = time.monotonic(), None
        date = headers.get("date", "")
        if date != self._date:
            self._date, self._skew = date, skew_of(date, self._skew)

    def missed(self) -> float:
        """Note a request without a response; return when the first of them failed."""
        # Read once: another thread may reset it.
        since = self.away_since or time.monotonic()
        self.away_since = since
        return since

    def server_time(self) -> float:
        """Return the store's time (Unix, seconds), from the `Date` of its last response."""
        return time.time() + self._skew

    def unreachable_for(self) -> float:
        """Return the seconds since the store first failed to answer, 0 while it answers."""
        since = self.away_since
        return 0.0 if since is None else time.monotonic() - since

    def silent_for(self) -> float:
        """Return the seconds since the last response."""
        return time.monotonic() - self._answered
