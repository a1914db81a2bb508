"""Memory for large requests and answers: pooled, counted, never over its limit.

The kernel demands a buffer for the largest request from each reader, whatever comes. So a reader
listens with a buffer of the pool and returns it at once when the request is small; only a large
WRITE keeps it while it is carried out. A large answer takes another one. When all are taken, the
reader waits: no request needs a second one of a kind, so one is always returned.

Buffers are anonymous maps. Those for answers take memory as they are written. Those for requests
are in memory from the beginning, and no fork shares their pages: the kernel ends a request with
EIO, for the application to see, when the process is killed while a page for it is being made.

Threading: any thread; `_free` is a condition, a leaf.
"""

import mmap

from fusefs import locks
from fusefs.locks import Rank

SMALL = 16 << 10  # bytes; what is less is copied, which takes less than a lock does
LEAST = 8  # buffers, whatever their size: four listeners or large writes, four answers
# Requests of this size at least; and so many buffers should fit, for smaller limits to work, too.
REQUEST_LEAST, WANTED = 128 << 10, 24


def request_size(memory: int, most: int) -> int:
    """Return how large a request may be (a power of two) where its buffers have `memory` bytes."""
    fitting = max(1, memory // WANTED)
    return min(most, max(REQUEST_LEAST, 1 << (fitting.bit_length() - 1)))


class Messages:
    """Buffers of `size` bytes in `memory` bytes: half of them for requests, half for answers."""

    def __init__(self, size: int, memory: int) -> None:
        self.size = size
        count = max(LEAST, memory // size)
        self.requests = Pool(size, count - count // 2, present=True)
        self.answers = Pool(size, count // 2)

    @property
    def bytes(self) -> int:
        """The size of all buffers there are."""
        return self.requests.bytes + self.answers.bytes


class Pool:
    """Up to `most` buffers of one size, made when they are needed, the last used first.

    `present`: all of their pages are in memory before anybody gets them.
    """

    def __init__(self, size: int, most: int, *, present: bool = False) -> None:
        self.size = size
        self.most = most
        self._present = present
        self.made = 0
        self._idle: list[mmap.mmap] = []
        self._free = locks.condition(Rank.LEAF)

    @property
    def bytes(self) -> int:
        """The size of all buffers there are."""
        return self.made * self.size

    @property
    def exhausted(self) -> bool:
        """Whether `take` would have to wait."""
        with self._free:
            return not self._has_one()

    def take(self, timeout: float | None = None) -> "mmap.mmap | None":
        """Return a buffer with arbitrary content, when one is free; None after `timeout` s."""
        with self._free:
            if not self._free.wait_for(self._has_one, timeout):
                return None
            if self._idle:
                return self._idle.pop()
            self.made += 1
        buffer = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if self._present:
            buffer.madvise(mmap.MADV_DONTFORK)
            buffer[:: mmap.PAGESIZE] = bytes(len(range(0, self.size, mmap.PAGESIZE)))
        return buffer

    def _has_one(self) -> bool:
        return bool(self._idle) or self.made < self.most

    def give(self, buffer: mmap.mmap) -> None:
        """Return a buffer to the pool; it must not be used any more."""
        with self._free:
            self._idle.append(buffer)
            self._free.notify()
