"""The API server's time, carried on between its answers: the clock that certificates go by.

Whoever verifies decides what is valid, and that is the API server. Its last `Date` and the seconds
since then give its time now, so neither a wrong wall clock nor one that jumps counts. Before the
first answer there is nothing but the wall clock. Belongs to one thread.
"""

from datetime import UTC, datetime, timedelta
from typing import Protocol

# How far two clocks may be apart before it is told: a Date header has whole seconds and took a
# while to travel.
SKEW_TOLERANCE = timedelta(seconds=60)
# A difference seen again within this time is no news: a clock at the edge of the tolerance, or
# API servers that disagree, would be told each round.
_REMEMBERED = 3600.0


class Clock(Protocol):
    """Wall time, and seconds to wait by."""

    def now(self) -> datetime:
        """The wall clock, aware."""

    def monotonic(self) -> float:
        """Seconds that never jump."""


class ServerTime:
    """One process's view of the API server's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: tuple[datetime, float] | None = None
        # Differences that were told, and when each was last seen; none is the one to begin with.
        self._told: list[tuple[timedelta, float]] = []

    def now(self) -> datetime:
        """The API server's time; the wall clock's before its first answer."""
        if self._seen is None:
            return self._clock.now().astimezone(UTC)
        date, at = self._seen
        return date + timedelta(seconds=self._clock.monotonic() - at)

    def observe(self, date: datetime) -> timedelta | None:
        """Take a time of the API server's; returns how far our clock is off when that is news."""
        now = self._clock.monotonic()
        self._seen = date.astimezone(UTC), now
        self._told = [each for each in self._told if now - each[1] <= _REMEMBERED]
        skew = date - self._clock.now()
        return skew if abs(skew) > SKEW_TOLERANCE and self._is_news(skew, now) else None

    def _is_news(self, skew: timedelta, now: float) -> bool:
        near = [told for told, _ in self._told if abs(told - skew) <= SKEW_TOLERANCE]
        others = [each for each in self._told if each[0] not in near]
        self._told = [*others, *((told, now) for told in near or [skew])]
        return not near
