"""The API server's time, extrapolated between its answers: the clock for certificates.

The API server verifies certificates, so its clock decides. Its last `Date` and the seconds since
then give its time now, so a wrong or jumping wall clock has no effect. Before the first answer the
wall clock is used. Used by one thread.
"""

from datetime import UTC, datetime, timedelta
from typing import Protocol

# Seconds of difference before it is reported: a Date header has whole seconds and is delayed.
SKEW_TOLERANCE = timedelta(seconds=60)
# Seconds in which a difference isn't reported again: a clock at the edge of the tolerance, or API
# servers that disagree, would be reported each round.
_REMEMBERED = 3600.0


class Clock(Protocol):
    """The wall clock and a monotonic clock."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never jumps."""


class ServerTime:
    """One process's estimate of the API server's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: tuple[datetime, float] | None = None
        # Reported differences, and when each was last seen; the first is none.
        self._skews: list[tuple[timedelta, float]] = []

    def now(self) -> datetime:
        """Return the API server's time; the wall clock's before its first answer."""
        if self._seen is None:
            return self._clock.now().astimezone(UTC)
        date, at = self._seen
        return date + timedelta(seconds=self._clock.monotonic() - at)

    def observe(self, date: datetime) -> timedelta | None:
        """Note a time of the API server; return our clock's difference if it is to be reported."""
        now = self._clock.monotonic()
        self._seen = date.astimezone(UTC), now
        self._skews = [each for each in self._skews if now - each[1] <= _REMEMBERED]
        skew = date - self._clock.now()
        return skew if abs(skew) > SKEW_TOLERANCE and self._is_news(skew, now) else None

    def _is_news(self, skew: timedelta, now: float) -> bool:
        near = [known for known, _ in self._skews if abs(known - skew) <= SKEW_TOLERANCE]
        others = [each for each in self._skews if each[0] not in near]
        self._skews = [*others, *((known, now) for known in near or [skew])]
        return not near
