"""The cached blocks of one version of one object, and the disk space they occupy.

Disk errors are misses here, never errors: a read finds no block, a write stores none.
Not here: eviction (`cache`), where the bytes come from (`read.version`), the layout (`blockfile`).

Threading: any thread. `_setup` guards opening, creating and renaming the two files and is held over
those system calls. Order: `_setup`, the lock of `cache`, then the leaves (`blocktable`, `space`).
Data is read and written without a lock: a reader that finds another epoch afterwards reads again.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

from fusefs import locks
from fusefs.cache.blockindex import ABSENT, BrokenIndex, Identity
from fusefs.cache.blocktable import CHECKED, BlockTable
from fusefs.cache.checksumming import seal
from fusefs.cache.held import Held
from fusefs.cache.kernelreads import KernelReads
from fusefs.cache.lastchange import LastChange, last_change
from fusefs.cache.place import Blocks, DiskPlace, DiskState
from fusefs.disk.diskhealth import DiskHealth
from fusefs.disk.space import Account
from fusefs.errors import NoSpace
from fusefs.interface import Extent
from fusefs.locks import Rank

log = logging.getLogger(__name__)

# What `verified_fd` may check at once: about 50 ms at the 3 GB/s of read and CRC32 together.
CHECK_AT_ONCE = 128 * 1024 * 1024
# Bytes of space: more would evict needlessly much from a small cache.
STORE_AT_ONCE = 2 * 1024 * 1024
TRIES = 4  # races that a read may lose against evictions; then the block counts as absent


class CacheFile:
    """Blocks of one version on disk; made by `Cache.open`, counted by it, closed by its users."""

    def __init__(
        self,
        identity: Identity,
        place: DiskPlace,
        account: Account,
        health: DiskHealth,
        closed: Callable[["CacheFile"], None],
        origin: DiskState = DiskState.NOTHING,
        held: int = 0,
        kernel_reads: KernelReads = KernelReads(),  # noqa: B008 - immutable
        checked: LastChange = None,
    ) -> None:
        self.identity, self.place = identity, place
        self.origin, self.checked = origin, checked
        self.users = 1  # this and `listed` are guarded by the cache's lock
        self.listed = True
        self._held, self._health = Held(account, held), health
        self._kernel_reads = kernel_reads
        self._closed = closed
        self._setup, self._ready = locks.lock(Rank.SETUP), False
        self._file: Blocks | None = None
        self._table = BlockTable(identity.blocks)

    @property
    def key(self) -> str:
        return self.identity.key

    @property
    def etag(self) -> str:
        return self.identity.etag

    @property
    def size(self) -> int:
        return self.identity.size

    @property
    def held(self) -> int:
        """Bytes that this counts for in `Space`."""
        return self._held.bytes

    @property
    def empty(self) -> bool:
        """True when no block is on disk."""
        if self.origin is DiskState.NOTHING:
            return True
        return self._ready and self._table.present == 0 < self._table.count

    @property
    def keepable(self) -> bool:
        """True if the next open finds the blocks; an adopted one has to be whole until sealed."""
        return not self.empty and not (self.origin is DiskState.ADOPTED and self._table.epoch)

    @property
    def whole(self) -> bool:
        """True while every block is on disk."""
        self.prepare()
        return self._table.whole

    def prepare(self) -> None:
        """Open the files on disk; later calls cost nothing."""
        if not self._ready:
            with self._setup:
                if not self._ready:
                    self._open()
                    self._ready = True

    def read(self, offset: int, view: memoryview) -> int:
        """Fill `view` with checked bytes from `offset`; stops at the first absent block."""
        self.prepare()
        end = min(offset + len(view), self.size)
        if offset >= end:
            return 0
        block = self.identity.block
        first, last = offset // block, -(-end // block)
        for _ in range(TRIES):
            stop, checked, epoch = self._table.readable(first, last)
            if stop == first:
                return 0
            if not checked:
                whole = self.identity.length(first, stop)
                if offset == first * block and len(view) >= whole:
                    if self._checked(first, stop, view):
                        return whole
                else:
                    self._check(first, stop)
                continue
            done = self._pread(offset, view[: min(end, stop * block) - offset])
            if epoch == self._table.epoch:
                if done == 0:  # the file was truncated from outside
                    self._lose(first, epoch)
                return done
        return 0

    def read_now(self, offset: int, view: memoryview) -> bool:
        """Fill all of `view` with checked bytes that are in memory; False if they may not be.

        Opens no file, as `whole` may: while that isn't done, no block counts as there.
        """
        block, file, end = self.identity.block, self._file, offset + len(view)
        stop, checked, epoch = self._table.readable(offset // block, -(-end // block))
        if file is None or not self._table.whole or not checked or stop * block < end:
            return False
        return file.read_now(offset, view) and epoch == self._table.epoch

    def extent(self, offset: int, size: int) -> Extent | None:
        """Return where checked bytes of a whole file are, fewer only at its end; else None."""
        size, block = min(size, self.size - offset), self.identity.block
        file = self._file if size > 0 and self.whole else None
        if file is None or file.fd < 0:
            return None
        first, last = offset // block, -(-(offset + size) // block)
        if not self._table.hold(first, last):
            self._check(first, last)
            if not self._table.hold(first, last):
                return None
        return Extent(file.fd, offset, size, partial(self._table.let_go, first, last))

    def missing(self, offset: int, length: int) -> list[tuple[int, int]]:
        """Return (offset, length) of each part of a range that isn't on disk, in whole blocks."""
        self.prepare()
        if length <= 0 or offset >= self.size or self._table.whole:
            return []
        block = self.identity.block
        first, last = offset // block, -(-min(offset + length, self.size) // block)
        return [
            (start * block, self.identity.length(start, stop))
            for start, stop in self._table.absent(first, last)
        ]

    def verified_fd(self) -> int:
        """Return the data file's descriptor if all of it is on disk and checked, else -1.

        From then on no block is evicted while anybody has it open, now or later: the kernel's
        mappings outlive descriptors. A large file of a former process has to be read before, to be
        checked.
        """
        if not self.whole or self._file is None:
            return -1
        unchecked = sum(stop - start for start, stop in self._table.unchecked(0, self._table.count))
        if unchecked * self.identity.block > CHECK_AT_ONCE:
            return -1
        if unchecked:
            self._check(0, self._table.count)
        return self._file.fd if self._table.pin() and self._file.keep() else -1

    def lend(self, first: int, last: int) -> tuple[int, Sequence[int]] | None:
        """Return the CRC32 of the blocks from `first` on, up to the first absent one or `last`.

        With them a descriptor for reading them, the caller's to close. Who reads them compares:
        they are evicted at any time. None if the first is absent.
        """
        self.prepare()
        stop, _, _ = self._table.readable(first, last)
        if stop == first or self._file is None:
            return None
        try:
            return self._file.lend(first, stop)
        except OSError as error:
            log.warning("cached blocks of %s can't be read: %s", self.key, error)
            return None

    def absent(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the runs of blocks in [first, last) that can't be read."""
        self.prepare()
        return self._table.absent(first, last)

    def recheck(self, number: int) -> None:
        """Compare a block with its CRC32 once more; it is dropped if it doesn't fit."""
        self.prepare()
        scratch = memoryview(bytearray(self.identity.length(number, number + 1)))
        epoch = self._table.epoch
        if not self._intact(number, scratch):
            self._lose(number, epoch)

    def _pread(self, offset: int, view: memoryview) -> int:
        try:
            return self._file.read(offset, view) if self._file is not None else 0
        except OSError as error:
            log.warning("cached blocks of %s can't be read: %s", self.key, error)
            return 0

    def _checked(self, first: int, last: int, view: memoryview) -> bool:
        """Fill `view` with blocks, each compared with its CRC32; False if one is lost."""
        block, epoch = self.identity.block, self._table.epoch
        for number in range(first, last):
            begin = (number - first) * block
            data = view[begin : begin + self.identity.length(number, number + 1)]
            if not self._intact(number, data):
                self._lose(number, epoch)
                return False
            if not self._table.check(number, epoch):
                return False
        return epoch == self._table.epoch

    def _check(self, first: int, last: int) -> None:
        """Compare the stored blocks in [first, last) with their CRC32, up to the first bad one."""
        scratch = memoryview(bytearray(self.identity.length(0, 1)))
        for start, stop in self._table.unchecked(first, last):
            for number in range(start, stop):
                epoch = self._table.epoch
                if not self._intact(number, scratch[: self.identity.length(number, number + 1)]):
                    self._lose(number, epoch)
                    return
                self._table.check(number, epoch)

    def _intact(self, number: int, scratch: memoryview) -> bool:
        try:
            return self._file is not None and self._file.intact(number, scratch)
        except OSError as error:
            log.warning("cached blocks of %s can't be read: %s", self.key, error)
            return False

    def write(self, offset: int, data: memoryview) -> None:
        """Store the whole blocks in `data`, the last one of the object included, if there is space.

        Never fails: blocks that can't be stored are misses later.
        """
        self.prepare()
        block = self.identity.block
        first, end = -(-offset // block), offset + len(data)
        last = self._table.count if end >= self.size else end // block
        file = self._create() if first < last and self._health.usable() else None
        if file is None:
            return
        step = max(1, STORE_AT_ONCE // block)
        for low, high in self._table.claim(first, last):
            for start in range(low, high, step):
                stop = min(start + step, high)
                begin = start * block - offset
                self._store(
                    file, start, stop, data[begin : begin + self.identity.length(start, stop)]
                )

    def _store(self, file: Blocks, start: int, stop: int, data: memoryview) -> None:
        """Write a run that is BUSY."""
        outcome, cost = ABSENT, file.cost(start, stop)
        try:
            with self._held.account.writing(cost):
                file.write(start, data)
            self._held.hold(cost)
            outcome = CHECKED
            self._health.worked()
        except NoSpace as error:
            log.debug("not cached: %s", error)
        except OSError as error:
            self._health.failed(error)
        finally:
            self._table.settle(start, stop, outcome)

    def seal(self, until: Callable[[], bool]) -> None:
        """Compute the checksums of an adopted file for the next process; stops when `until()`.

        OSError if they can't be written; this process can use the file all the same.
        """
        self.prepare()
        if self._file is not None and seal(self._file, self._table, self.identity, until):
            self.origin = DiskState.STORED

    def shed(self, want: int) -> int:
        """Free the oldest blocks, `want` bytes or all; return the bytes freed."""
        freed, file = 0, self._file
        while freed < want and file is not None:
            claimed = self._table.claim_oldest(-(-(want - freed) // self.identity.block))
            if claimed is None:
                break
            (start, stop), before = claimed
            if not self._punch(file, start, stop):
                self._table.restore(start, before)
                break
            self._table.settle(start, stop, ABSENT)
            self._held.give(file.cost(start, stop))
            freed += file.cost(start, stop)
        return freed

    def _lose(self, number: int, epoch: int) -> None:
        """Drop one damaged block."""
        file = self._file
        if file is not None and self._table.claim_bad(number, epoch):
            log.warning("cached block %d of %s is damaged, dropped", number, self.key)
            held = self._table.holds(number)  # its zeros would be sent
            self._table.suspect |= held or not self._punch(file, number, number + 1)
            self._table.settle(number, number + 1, ABSENT)
            self._held.give(file.cost(number, number + 1))

    def _punch(self, file: Blocks, start: int, stop: int) -> bool:
        """Free the disk space of a run that is BUSY; False where the filesystem can't."""
        try:
            file.punch(start, stop)
        except OSError as error:
            log.debug("can't punch a hole into the cache file of %s: %s", self.key, error)
            return False
        return True

    def _open(self) -> None:
        if self.origin is DiskState.NOTHING:
            return
        try:
            file = self.place.load(self.identity)
            states = file.states()
        except (OSError, BrokenIndex) as error:
            log.warning("cached blocks of %s dropped: %s", self.key, error)
            self.remove()
            self.origin = DiskState.NOTHING
            self._held.recount(0)
            return
        if self.origin is DiskState.ADOPTED:
            states = bytearray([CHECKED]) * self._table.count
        pinned = file.kept or self._kernel_reads.has(file.fd)
        checked = self.checked is not None and self.checked == last_change(file.fd)
        runs = self._table.load(states, pinned=pinned, checked=checked)
        self._file = file
        self._held.recount(
            self.place.overhead + sum(file.cost(start, stop) for start, stop in runs)
        )

    def _create(self) -> Blocks | None:
        """Return the files, made if missing; None after a disk error."""
        with self._setup:
            if self._file is None:
                try:
                    overhead = self.place.overhead
                    with self._held.account.writing(overhead) if overhead else nullcontext():
                        self._file = self.place.create(self.identity)
                    self.origin = DiskState.STORED
                    self._held.hold(overhead)
                except (NoSpace, BrokenIndex) as error:
                    log.debug("not cached: %s", error)
                except OSError as error:
                    self._health.failed(error)
            return self._file

    def rename(self, identity: Identity, stem: str) -> None:
        """Change key and ETag; after an error the version has to be forgotten."""
        self.prepare()
        with self._setup:
            self.identity = identity
            if self._file is not None:
                self._file.rename(identity.key, identity.etag, stem)
            self.place = self.place.under(stem)

    def remove(self) -> None:
        """Unlink the files; descriptors stay usable."""
        self.place.remove()

    def release(self) -> None:
        """Close the descriptors."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def close(self) -> None:
        """Count one user less; the last one closes the descriptors."""
        if self._file is not None:
            self.checked = last_change(self._file.fd) if self._table.checked else None
        self._closed(self)
