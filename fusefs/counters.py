"""What a mount counts while it works: plain numbers, for whoever exports them.

Not here: names and formats of metrics (`metrics`), and what can be asked when it is wanted, like
the number of open files.

Threading: any thread; the lock is a leaf. One count takes less than a microsecond, so it is done
per request and per read, never per byte or block.
"""

from enum import IntEnum

from fusefs import locks
from fusefs.locks import Rank


class Count(IntEnum):
    """What there is one number of; a place in a list, which is the fastest to find."""

    RECEIVED = 0  # bytes of object content that came from the store
    SENT = 1  # bytes of object content that went there
    RETRIED = 2  # requests that were sent again
    HIT = 3  # bytes of reads that came from the cache disk
    MISSED = 4  # bytes of reads that came from the store, ahead or not
    UPLOAD_FAILED = 5  # commits that failed and are tried again
    CONFLICT = 6  # commits refused because somebody else was first


class Counters:
    """The counts of one mount; they only grow."""

    def __init__(self) -> None:
        self._lock = locks.lock(Rank.LEAF)
        self._counts = [0] * len(Count)
        self._requests: dict[tuple[str, str], int] = {}

    def add(self, what: Count, amount: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[what] += amount

    def request(self, operation: str, outcome: str, sent_again: int = 0) -> None:
        """Count an answered or failed request by its S3 operation and how it ended."""
        with self._lock:
            key = (operation, outcome)
            self._requests[key] = self._requests.get(key, 0) + 1
            self._counts[Count.RETRIED] += sent_again

    def activity(self) -> int:
        """Return a number that grows with every answer, retry and byte of the store or the cache.

        It is the same twice only where nothing has happened in between.
        """
        moved = (Count.RECEIVED, Count.SENT, Count.RETRIED, Count.HIT)
        with self._lock:
            return sum(self._requests.values()) + sum(self._counts[each] for each in moved)

    def get(self, what: Count) -> int:
        """Return one count."""
        return self._counts[what]

    def requests(self) -> dict[tuple[str, str], int]:
        """Return the requests by operation and outcome."""
        with self._lock:
            return dict(self._requests)
