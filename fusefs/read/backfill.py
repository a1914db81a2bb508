"""Background fetches of the rest of a version that is read at random.

A cache miss costs a round trip, whatever its size, so each miss fetches the bytes that arrive in
about that time. When misses in a file continue, the whole file is fetched, a few parts at a time,
and later reads are local. While that slows the readers' own requests, fewer parts are fetched at
once, down to one; when the reads stop, no part begins. Only versions that fit a share of the cache
are fetched so (`readpool` decides): a larger one would evict itself.

What of it was of use is counted by pieces: a piece is, once somebody reads in it.

Not here: fetching (`version`). Plain state; every call is made under the reader's lock.
"""

from collections import deque
from collections.abc import Iterator

from fusefs.counters import Count, Counters
from fusefs.read.fetches import Fetch
from fusefs.read.readahead import ReadAhead

MiB = 1 << 20
AROUND = 1 * MiB  # bytes fetched at a miss: they arrive in half of a usual round trip
MISSES, WITHIN = 8, 5.0  # so many misses in so many seconds begin the background fetches
IDLE = 1.0  # seconds after the last read in which a part may begin
PIECE = 4 * MiB  # bytes of a part: a reader of its last byte waits for all of it
SLOWER = 2.0  # a miss that takes so many times its usual time is slowed by the fetches


class Backfill:
    """The background fetches of one version; they count as the read-ahead of `stream`.

    Times are monotonic seconds.
    """

    def __init__(self, most: int, counters: Counters) -> None:
        self._counters = counters
        self.parts = self._most = most  # in flight at most
        self.stream = ReadAhead(PIECE, PIECE)
        self.at = 0  # bytes before this offset are cached or being fetched
        self._misses: deque[float] = deque(maxlen=MISSES)
        self._going = False
        self._read = 0.0
        self._usual = 0.0  # seconds of a miss while no part is fetched beside it
        # Bytes fetched near which nobody has read since, by the number of their `PIECE`.
        self._unread: dict[int, int] = {}

    def read(self, now: float) -> None:
        """Note a read."""
        self._read = now

    def missed(self, now: float) -> None:
        """Note a cache miss of a read that doesn't continue the last one."""
        self._misses.append(now)
        if len(self._misses) == MISSES and now - self._misses[0] < WITHIN:
            self._misses.clear()
            if not self._going:
                self._going, self.at = True, 0

    def took(self, seconds: float) -> None:
        """Note how long a reader waited for a miss."""
        if not self._going:
            self._usual += (seconds - self._usual) / (4 if self._usual else 1)
        elif seconds > SLOWER * self._usual:
            self.parts = max(1, self.parts // 2)
        else:
            self.parts = min(self._most, self.parts + 1)

    def active(self, now: float) -> bool:
        """Return whether another part may be fetched."""
        if self._going and now - self._read > IDLE:
            self._going = False
        return self._going

    def over(self) -> None:
        """Note that every part is cached or being fetched; parts evicted later are missed again."""
        self._going = False

    def begun(self, start: int, stop: int) -> None:
        """Note that a part is fetched."""
        for piece, size in _pieces(start, stop):
            self._unread[piece] = self._unread.get(piece, 0) + size

    def failed(self, part: Fetch) -> None:
        """Note that a part isn't fetched after all."""
        if part.stream is self.stream:
            for piece, size in _pieces(part.start, part.stop):
                self._unread[piece] = max(0, self._unread.get(piece, 0) - size)

    @property
    def unread(self) -> bool:
        """Whether there may be fetched bytes near which nobody has read since."""
        return bool(self._unread)

    def used(self, start: int, stop: int) -> None:
        """Count the fetched bytes near a read, once."""
        if self._unread:
            used = sum(self._unread.pop(piece, 0) for piece, _ in _pieces(start, stop))
            self._counters.add(Count.AHEAD_USED, used)

    def closed(self) -> None:
        """Count the fetched bytes near which nobody has read."""
        self._counters.add(Count.AHEAD_WASTED, sum(self._unread.values()))
        self._unread.clear()


def _pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for piece in range(start // PIECE, -(-stop // PIECE)):
        yield piece, min(stop, (piece + 1) * PIECE) - max(start, piece * PIECE)
