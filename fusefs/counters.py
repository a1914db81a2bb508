"""The counters of a mount: plain numbers, exported by `metrics`.

Not here: names and formats of metrics (`metrics`), and values that can be read on demand, like the
number of open files.

Threading: any thread; the lock is a leaf. One count takes less than a microsecond, so it is done
per request and per read, never per byte or block.
"""

from enum import IntEnum, unique

from fusefs import locks
from fusefs.locks import Rank
from fusefs.timings import Timings


@unique
class Count(IntEnum):
    """The counters, each an index into a list, which is the fastest lookup."""

    RECEIVED = 0  # bytes of object content received from the store
    SENT = 1  # bytes of object content sent to the store
    RETRIED = 2  # requests that were retried
    HIT = 3  # bytes of reads served from the cache disk
    MISSED = 4  # bytes of reads served from the store, read-ahead included
    UPLOAD_FAILED = 5  # commits that failed and are retried
    CONFLICT = 6  # commits refused because another writer was first
    AHEAD_USED = 7  # bytes of small files, and of parts behind a reader's back, fetched and needed
    AHEAD_WASTED = 8  # the same, fetched and not needed
    CREDENTIALS = 9  # times that new credentials were taken
    NODE_READ = 10  # bytes read from the cache of the node
    NODE_KEPT = 11  # bytes fetched from the store for all pods of the node
    NODE_PASSED = 12  # bytes fetched for this mount alone, for the node's cache couldn't help
    LAPSED = 13  # requests given up because the store takes the credentials no longer
    FULL = 14  # writes given up because the cache disk was full


class Counters:
    """The counts of one mount; they only grow."""

    def __init__(self) -> None:
        self._lock = locks.lock(Rank.LEAF)
        self._counts = [0] * len(Count)
        self._requests: dict[tuple[str, str], int] = {}
        # By name of a file operation and errno, 0 for success.
        self.operations: Timings[tuple[str, int]] = Timings()
        # By S3 operation: until the head of an answer; until its last byte, all tries included.
        self.first_bytes: Timings[str] = Timings()
        self.answers: Timings[str] = Timings()

    def add(self, what: Count, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[what] += amount

    def request(self, operation: str, outcome: str, sent_again: int = 0) -> None:
        """Count an answered or failed request by S3 operation and outcome."""
        with self._lock:
            key = (operation, outcome)
            self._requests[key] = self._requests.get(key, 0) + 1
            self._counts[Count.RETRIED] += sent_again

    def activity(self) -> int:
        """Return a number that grows with every answer, retry and byte of the store or the cache.

        Two equal results mean that nothing happened in between.
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
