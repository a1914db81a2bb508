"""The disk budget that cached blocks and staged files share.

Before it writes to the cache volume, a caller takes the bytes here. When they don't fit, clean
content is evicted until they do; when nothing is left to evict, `NoSpace` is raised and the
caller decides: a block is not cached, a writer uploads early, slows down, or fails.

Not here: what is evicted (`cache`) and what happens to a writer without space.

Threading: any thread. The one lock guards the count only and is a leaf: it is never held while
evicting, so evictors may take their own locks and call `give`. Call `take` without a lock.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fusefs import locks
from fusefs.errors import NoSpace
from fusefs.locks import Rank

# A look at the disk is good for so many seconds, where it has so many bytes more than the floor:
# nobody else writes as much meanwhile.
LOOK_SECONDS, PLENTY = 0.1, 256 << 20


class Space:
    """Bytes in use under `root`; at most `limit`, and `floor` bytes of the disk stay free.

    `fake_free` is for tests of a full disk: the disk counts as one that had only that many bytes
    free at the start, less the bytes taken since.
    """

    def __init__(self, root: Path, limit: int, floor: int, fake_free: int | None = None) -> None:
        self.root = root
        self.limit = limit
        self.floor = floor
        self._fake_free = fake_free
        self._lock = locks.lock(Rank.LEAF)
        self._used = 0
        self._found = 0
        self._coming = 0
        self._look = (0.0, 0, 0)  # until when the last one is good, bytes free and used then
        self._evictors: list[Callable[[int], int]] = []
        self._hints: list[Callable[[], str]] = []

    @property
    def used(self) -> int:
        """Bytes taken and not returned."""
        return self._used

    @property
    def free(self) -> int:
        """Bytes that can be taken now without evicting anything."""
        return max(0, -self._shortage(0))

    @property
    def excess(self) -> int:
        """Bytes over the limits, after a start with lower ones."""
        return max(0, self._shortage(0))

    def evictor(self, evict: Callable[[int], int], hint: Callable[[], str] = str) -> None:
        """Ask `evict(want)` for clean bytes when space runs short, in the order of these calls.

        `hint()` returns what a person could do about it, "" for nothing.
        """
        self._evictors.append(evict)
        self._hints.append(hint)

    def take(self, size: int, *, coming: bool = False) -> None:
        """Count `size` bytes that are about to be written; evict to make room; else `NoSpace`.

        `coming`: they aren't part of the disk's own count until `landed` is called.
        """
        if not size:
            return
        if size > self.limit:
            raise NoSpace(f"{size} bytes are more than the cache limit of {self.limit}")
        while not self._try(size, coming=coming):
            want = max(1, self._shortage(size))
            if not any(evict(want) > 0 for evict in self._evictors):
                raise NoSpace(self._refusal(size))

    def _refusal(self, size: int) -> str:
        said = [
            f"no room for {size} bytes in {self.root}: {self._used} of {self.limit} used",
            *filter(None, (hint() for hint in self._hints)),
            f"{self._disk_free()} free on the disk, {self.floor} to be left free (ensure_diskfree)",
        ]
        return ", ".join(said)

    def landed(self, size: int) -> None:
        """Bytes taken as `coming` were written, or will not be."""
        with self._lock:
            self._coming -= size

    def give(self, size: int) -> None:
        """Return bytes that were taken or found."""
        with self._lock:
            self._used -= size

    def found(self, size: int) -> None:
        """Count bytes that are on the disk already, whatever the limit says."""
        with self._lock:
            self._used += size
            self._found += size

    def _try(self, size: int, *, coming: bool) -> bool:
        with self._lock:
            within = self._used + size <= self.limit
            if not within or self.floor + size > self._disk_free():
                return False
            self._used += size
            self._coming += size if coming else 0
            return True

    def _shortage(self, size: int) -> int:
        """Bytes to be freed before `size` more fit; negative is room to spare."""
        return max(self._used + size - self.limit, self.floor + size - self._disk_free())

    def _disk_free(self) -> int:
        if self._fake_free is not None:
            return self._fake_free + self._found - self._used
        until, free, used = self._look
        if time.monotonic() < until:
            free -= max(0, self._used - used) + self._coming
            if free > self.floor + PLENTY:
                return free
        try:
            disk = os.statvfs(self.root)
        except OSError:  # the volume is gone or fails; the write itself will report it
            return self.limit + self.floor
        free = disk.f_bavail * disk.f_frsize
        self._look = (time.monotonic() + LOOK_SECONDS, free, self._used)
        return free - self._coming


class Account:
    """One user's share of a space: its bytes are counted here and in the space.

    Threading: as `Space`; its own lock is a leaf too.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._lock = locks.lock(Rank.LEAF)
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes of the space that are this account's."""
        return self._held

    @contextmanager
    def writing(self, size: int) -> Iterator[None]:
        """Take bytes for a write inside the block; they are returned if it fails."""
        self.space.take(size, coming=True)
        self.receive(size)
        try:
            yield
        except BaseException:
            self.give(size)
            raise
        finally:
            self.space.landed(size)

    def give(self, size: int) -> None:
        """Return bytes."""
        self.receive(-size)
        self.space.give(size)

    def found(self, size: int) -> None:
        """Count bytes that are on the disk already."""
        if size:
            self.space.found(size)
            self.receive(size)

    def receive(self, size: int) -> None:
        """Take over bytes that another user has taken from the space."""
        with self._lock:
            self._held += size
