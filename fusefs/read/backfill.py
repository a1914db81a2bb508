"""When the rest of a version that is read here and there is fetched, behind its readers' requests.

A miss costs a round trip, whatever its size. So each brings what arrives in about that time, and
when misses in a file go on, all of it is fetched, a few parts at a time: the next reads are local.
Fewer, down to one, while that makes the readers' own requests slower; none when they stop. Only for
what fits a share of the cache (`readpool` decides): a file that doesn't would push itself out.

Not here: fetching (`version`). Plain state; every call is made under the reader's lock.
"""

from collections import deque

from fusefs.read.readahead import ReadAhead

MiB = 1 << 20
AROUND = 1 * MiB  # bytes of a miss: they arrive in half of a usual round trip
MISSES, WITHIN = 8, 5.0  # so many in so many seconds: they go on
IDLE = 1.0  # seconds after a read in which parts may begin
PIECE = 2 * MiB  # bytes of a part: who needs its last byte waits for all of it
SLOWER = 2.0  # times as long as before the first part: misses suffer


class Backfill:
    """The background fetches of one version, `stream` being whose they are."""

    def __init__(self, most: int) -> None:
        self.parts = self._most = most  # that may be under way
        self.stream = ReadAhead(PIECE, PIECE)
        self.at = 0  # what lies before is there, or on its way
        self._misses: deque[float] = deque(maxlen=MISSES)
        self._going = False
        self._read = 0.0
        self._usual = 0.0  # seconds of a miss while nothing was fetched beside it

    def read(self, now: float) -> None:
        """Note a read."""
        self._read = now

    def missed(self, now: float) -> None:
        """Note a read somewhere else than the last one, of what isn't there."""
        self._misses.append(now)
        if len(self._misses) == MISSES and now - self._misses[0] < WITHIN:
            self._misses.clear()
            if not self._going:
                self._going, self.at = True, 0

    def took(self, seconds: float) -> None:
        """Note how long a miss was waited for."""
        if not self._going:
            self._usual += (seconds - self._usual) / (4 if self._usual else 1)
        elif seconds > SLOWER * self._usual:
            self.parts = max(1, self.parts // 2)
        else:
            self.parts = min(self._most, self.parts + 1)

    def active(self, now: float) -> bool:
        """Say whether more may be fetched."""
        if self._going and now - self._read > IDLE:
            self._going = False
        return self._going

    def over(self) -> None:
        """All is there, or on its way; what is evicted later is missed again."""
        self._going = False
