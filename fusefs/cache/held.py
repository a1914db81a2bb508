"""The bytes of the disk that one cached version counts for in `Space`.

Threading: any thread; the lock is a leaf.
"""

from fusefs import locks
from fusefs.disk.space import Account
from fusefs.locks import Rank


class Held:
    """`bytes` are counted in `account` already."""

    def __init__(self, account: Account, size: int) -> None:
        self.account = account
        self.bytes = size
        self._lock = locks.lock(Rank.LEAF)

    def hold(self, size: int) -> None:
        """Count bytes that the account has given out (`Account.writing`)."""
        with self._lock:
            self.bytes += size

    def give(self, size: int) -> None:
        """Give bytes back to the account."""
        self.hold(-size)
        self.account.give(size)

    def recount(self, size: int) -> None:
        """Set the count to the bytes that are really on the disk."""
        with self._lock:
            change, self.bytes = size - self.bytes, size
        if change < 0:
            self.account.give(-change)
        else:
            self.account.found(change)
