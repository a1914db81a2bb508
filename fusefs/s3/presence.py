"""What the answers of a store tell of itself: whether it is there, and what time it has.

Any thread; each number is replaced in one step.
"""

import time
from collections.abc import Mapping

from fusefs.s3.answers import skew_of


class StorePresence:
    """One store's; times in seconds, of the monotonic clock where they are moments."""

    def __init__(self) -> None:
        self._answered = time.monotonic()
        self._away_since: float | None = None
        self._skew = 0.0

    def answered(self, headers: Mapping[str, str]) -> None:
        """An answer came, with a Date among its headers most likely."""
        self._answered, self._away_since = time.monotonic(), None
        self._skew = skew_of(headers, self._skew)

    def missed(self) -> float:
        """No answer came; return since when that is so."""
        # Into a variable first: another thread may have an answer just now.
        since = self._away_since or time.monotonic()
        self._away_since = since
        return since

    def server_time(self) -> float:
        """Return the store's clock, from the Date of its last answer."""
        return time.time() + self._skew

    def unreachable_for(self) -> float:
        """Return the seconds since the store first failed to answer, 0 while it answers."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def silent_for(self) -> float:
        """Return the seconds since the store last answered anything."""
        return time.monotonic() - self._answered
