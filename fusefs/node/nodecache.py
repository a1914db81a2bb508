"""The cache that pods of a node share: blocks of objects, apart for each scope.

It is a content cache as each mount has one (`fusefs.cache`), with a limit and eviction of its own
for all scopes together. A scope is part of each key, so nothing is found across two of them. Blocks
are lent as a descriptor for reading only, with the CRC32 by which the reader knows them.

Not here: who is in which scope (`sharing`), messages (`cacheserver`), the store.
Threading: any thread. `_lock` guards which versions are kept open, and is a leaf.
"""

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fusefs import locks
from fusefs.cache.blockindex import BLOCK, Identity
from fusefs.cache.cache import Cache
from fusefs.cache.cachefile import CacheFile
from fusefs.disk.space import Space
from fusefs.locks import Rank
from fusefs.node.turns import Turns

# Versions on disk, however small they are: each takes about 1200 bytes of memory.
VERSIONS_MOST = 4096
# Versions with open files: two descriptors and a byte for each block.
OPEN_MOST = 64
# A block may appear between two looks, or be evicted.
TRIES = 4


class NodeCache:
    """The node's cache in `root`, which is this process's alone until `close`."""

    def __init__(self, root: Path, limit: int, keep_free: int) -> None:
        """At most `limit` bytes; `keep_free` percent of the disk stay free. SetupError, OSError."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._space = Space(root, limit, floor_of(os.statvfs(root), keep_free))
        # Others can't be lent a version that shares its file.
        self._cache = Cache(root, self._space, VERSIONS_MOST, slabs=False)
        self._turns = Turns()
        self._lock = locks.lock(Rank.LEAF)
        self._open: OrderedDict[Identity, CacheFile] = OrderedDict()

    @property
    def held(self) -> int:
        """Bytes of the disk in use."""
        return self._cache.held

    def find(
        self, version: Identity, first: int, last: int, worker: object, *, doubt: bool
    ) -> tuple[int, Sequence[int]] | int:
        """Return blocks from `first` on, as `CacheFile.lend` does, or how many to fetch.

        0 while another worker fetches them. `doubt`: the first was found damaged. OSError.
        """
        with self._using(version) as file:
            if doubt:
                file.recheck(first)
            for _ in range(TRIES):
                lent = file.lend(first, last)
                if lent is not None:
                    return lent
                turn = self._turns.take(version, first, last, worker, file.absent)
                if turn is not None:
                    return turn
        raise OSError(errno.EIO, "the blocks come and go, or can't be read")

    def may_keep(self, version: Identity, first: int, last: int, worker: object) -> bool:
        """Return whether it is this worker's turn to bring these blocks."""
        return self._turns.has(version, first, last, worker)

    def keep(self, version: Identity, first: int, data: memoryview) -> None:
        """Store whole blocks, if there is room."""
        with self._using(version) as file:
            file.write(first * BLOCK, data)

    def end(self, version: Identity, first: int, last: int, worker: object) -> None:
        """End a worker's turn for these blocks."""
        self._turns.end(version, first, last, worker)

    def left(self, worker: object) -> None:
        """Note that a worker is gone: what it was fetching is another's turn."""
        self._turns.left(worker)

    def close(self) -> None:
        """Close all files; what is on disk stays for the next process."""
        with self._lock:
            files, self._open = list(self._open.values()), OrderedDict()
        for file in files:
            file.close()
        self._cache.close()

    @contextmanager
    def _using(self, version: Identity) -> Iterator[CacheFile]:
        """Lend the file of a version; those used last stay open, so that they needn't be read."""
        file = self._cache.open(version.key, version.etag, version.size)
        try:
            file.prepare()
            self._stay_open(version)
            yield file
        finally:
            file.close()

    def _stay_open(self, version: Identity) -> None:
        with self._lock:
            if version in self._open:
                self._open.move_to_end(version)
                return
        more, over = self._cache.open(version.key, version.etag, version.size), None
        with self._lock:
            if version in self._open:
                over = more
            else:
                self._open[version] = more
                if len(self._open) > OPEN_MOST:
                    over = self._open.popitem(last=False)[1]
        if over is not None:
            over.close()


def floor_of(disk: os.statvfs_result, percent: int) -> int:
    """Return a percentage of what others than root can have of a disk, as `df` counts it."""
    usable = disk.f_blocks - disk.f_bfree + disk.f_bavail
    return usable * disk.f_frsize * percent // 100
