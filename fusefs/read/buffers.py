"""Memory for bytes on their way from the store: pooled, counted, never over its limit.

Buffers are anonymous maps: untouched pages cost nothing, reused ones aren't zeroed again, and what
is given back to the system is given back at once.

Not here: what is worth dropping when memory runs out (`version`).

Threading: none of its own; every call is made under the lock of the reader that owns the pool.
"""

import mmap

SMALLEST = 128 * 1024
# Idle buffers stay for reuse up to this share of the limit: who reads steadily takes and gives in
# turn, so more would only be memory held for nothing.
IDLE_SHARE = 4


def _capacity(size: int) -> int:
    """Sizes are rounded up to powers of two, so that few kinds of buffers are reused often."""
    return max(SMALLEST, 1 << (size - 1).bit_length())


class Buffers:
    """At most `limit` bytes of buffers, handed out ones and idle ones together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._idle: dict[int, list[mmap.mmap]] = {}
        self._idle_bytes = 0

    @property
    def total(self) -> int:
        """Bytes of all buffers there are."""
        return self.used + self._idle_bytes

    def fits(self, size: int) -> bool:
        """Return whether `take` would succeed."""
        return self.used + _capacity(size) <= self.limit

    def take(self, size: int) -> mmap.mmap | None:
        """Return a buffer of `size` bytes or more with any content; None when it doesn't fit."""
        capacity = _capacity(size)
        if self.used + capacity > self.limit:
            return None
        same = self._idle.get(capacity)
        if same:
            self._idle_bytes -= capacity
            buffer = same.pop()
        else:
            self._shrink(self.limit - self.used - capacity)
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            buffer = mmap.mmap(-1, capacity, flags=flags)
        self.used += capacity
        return buffer

    def give(self, buffer: mmap.mmap) -> None:
        """Take a buffer back; nobody may look at it any more."""
        capacity = len(buffer)
        self.used -= capacity
        self._shrink(max(0, self.limit // IDLE_SHARE - capacity))
        self._idle.setdefault(capacity, []).append(buffer)
        self._idle_bytes += capacity

    def trim(self) -> None:
        """Give all idle buffers back to the system."""
        self._shrink(0)

    def _shrink(self, most: int) -> None:
        for same in self._idle.values():
            while same and self._idle_bytes > most:
                self._idle_bytes -= len(same[-1])
                same.pop()
