"""The cached blocks of one version of one object: a sparse data file and its index.

The data file has the size of the object and its bytes at their own offsets, so that a whole one can
be handed to the kernel. Disk errors are misses here, never errors.

Not here: which file is evicted and when (`cache`), where the bytes come from (`reader`).

Threading: any thread. `_setup` guards opening, creating and renaming the two files and is held over
those system calls. Order: `_setup`, the lock of `cache`, then the leaves (`blocktable`, `space`).
Data is read and written without a lock: a reader compares the table's epoch before and after, and
reads again when a block left in between.
"""

import logging
import os
from array import array
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from threading import Lock
from zlib import crc32

from fusefs.blocks import ABSENT, Broken, Identity, Index
from fusefs.blocktable import CHECKED, BlockTable
from fusefs.cachedir import Pair
from fusefs.errors import NoSpace
from fusefs.health import Health
from fusefs.holes import punch
from fusefs.space import Account

log = logging.getLogger(__name__)

PAGE = 4096
# What `verified_fd` may check at once: about 50 ms at the 3 GB/s of read and CRC32 together.
CHECK_AT_ONCE = 128 * 1024 * 1024
# Bytes taken and written in one go: more would evict needlessly much from a small cache.
STORE_AT_ONCE = 2 * 1024 * 1024
# Each try lost its race against an eviction; after so many the block counts as absent.
TRIES = 4


class Origin(Enum):
    """What is on the disk when a file is opened."""

    NOTHING = 1
    STORED = 2
    ADOPTED = 3  # a whole file of ours, without checksums yet


class CacheFile:
    """Blocks of one version on disk; made by `Cache.open`, counted by it, closed by its users."""

    def __init__(
        self,
        identity: Identity,
        pair: Pair,
        account: Account,
        health: Health,
        closed: Callable[["CacheFile"], None],
        origin: Origin = Origin.NOTHING,
        held: int = 0,
    ) -> None:
        self.identity = identity
        self.pair = pair
        self.origin = origin
        self.users = 1  # this and `listed` are guarded by the cache's lock
        self.listed = True
        self._held = held
        self._account = account
        self._health = health
        self._closed = closed
        self._setup = Lock()
        self._ready = False
        self._index: Index | None = None
        self._fd = -1
        self._table = BlockTable(identity.blocks)
        self._count = Lock()

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
        """Bytes of the disk that this counts for in `Space`."""
        return self._held

    @property
    def empty(self) -> bool:
        """True when nothing on disk is worth keeping."""
        if self.origin is Origin.NOTHING:
            return True
        return self._ready and self._table.present == 0 < self._table.count

    @property
    def whole(self) -> bool:
        """True while every block is on disk."""
        self.prepare()
        return self._table.whole

    def prepare(self) -> None:
        """Open what is on disk; later calls cost nothing."""
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
                self._check(first, stop)
                continue
            done = self._pread(offset, view[: min(end, stop * block) - offset])
            if epoch == self._table.epoch:
                if done == 0:  # the file was cut behind our back
                    self._lose(first, epoch)
                return done
        return 0

    def missing(self, offset: int, length: int) -> list[tuple[int, int]]:
        """Return (offset, length) of what isn't on disk in a range, widened to whole blocks."""
        self.prepare()
        if length <= 0 or offset >= self.size or self._table.whole:
            return []
        block = self.identity.block
        first, last = offset // block, -(-min(offset + length, self.size) // block)
        return [
            (start * block, self._length(start, stop))
            for start, stop in self._table.absent(first, last)
        ]

    def verified_fd(self) -> int:
        """Return the data file's descriptor if all of it is on disk and checked, else -1.

        From then on none of it is evicted until the last user closed it. What a former process
        left has to be read to be checked: a large file gets its descriptor only once it was.
        """
        if not self.whole or self._fd < 0:
            return -1
        unchecked = sum(stop - start for start, stop in self._table.unchecked(0, self._table.count))
        if unchecked * self.identity.block > CHECK_AT_ONCE:
            return -1
        if unchecked:
            self._check(0, self._table.count)
        return self._fd if self._table.pin() else -1

    def _pread(self, offset: int, view: memoryview) -> int:
        done = 0
        try:
            while done < len(view):
                count = os.preadv(self._fd, [view[done:]], offset + done)
                if count == 0:
                    break
                done += count
        except OSError as error:
            log.warning("cached blocks of %s can't be read: %s", self.key, error)
        return done

    def _check(self, first: int, last: int) -> None:
        """Compare the stored blocks in [first, last) with their CRC32, up to the first bad one."""
        block = self.identity.block
        scratch = memoryview(bytearray(block))
        for start, stop in self._table.unchecked(first, last):
            sums = self._sums(start, stop)
            for number in range(start, stop):
                epoch = self._table.epoch
                data = scratch[: self._length(number, number + 1)]
                done = self._pread(number * block, data)
                if done == len(data) and crc32(data) == sums[number - start]:
                    self._table.check(number, epoch)
                else:
                    self._lose(number, epoch)
                    return

    def _sums(self, first: int, last: int) -> "array[int]":
        try:
            if self._index is not None:
                return self._index.sums(first, last - first)
        except OSError as error:
            log.warning("index of %s can't be read: %s", self.key, error)
        return array("I", bytes(4 * (last - first)))

    def write(self, offset: int, data: memoryview) -> None:
        """Keep the whole blocks in `data`, the last one of the object included, if there's room.

        Never fails: what can't be kept is a miss later.
        """
        self.prepare()
        block = self.identity.block
        first, end = -(-offset // block), offset + len(data)
        last = self._table.count if end >= self.size else end // block
        if first >= last or not (self._health.usable() and self._create()):
            return
        step = max(1, STORE_AT_ONCE // block)
        for low, high in self._table.claim(first, last):
            for start in range(low, high, step):
                stop = min(start + step, high)
                begin = start * block - offset
                self._store(start, stop, data[begin : begin + self._length(start, stop)])

    def _store(self, start: int, stop: int, data: memoryview) -> None:
        """Write a run that is BUSY."""
        outcome, cost = ABSENT, 0
        try:
            self._take(self._cost(start, stop))
            cost = self._cost(start, stop)
            self._write_blocks(start, data)
            outcome = CHECKED
            self._health.worked()
        except NoSpace as error:
            log.debug("not cached: %s", error)
        except OSError as error:
            self._health.failed(error)
        finally:
            if outcome == ABSENT:
                self._give(cost)
            self._table.settle(start, stop, outcome)

    def _write_blocks(self, start: int, data: memoryview) -> None:
        block = self.identity.block
        sums = array("I", (crc32(data[at : at + block]) for at in range(0, len(data), block)))
        offset = start * block
        while data:
            done = os.pwrite(self._fd, data, offset)
            data, offset = data[done:], offset + done
        if self._index is not None:
            self._index.mark(start, sums)

    def seal(self, until: Callable[[], bool] = lambda: False) -> None:
        """Compute the checksums of an adopted file for the next process; stops when `until()`."""
        self.prepare()
        index, block = self._index, self.identity.block
        if index is None:
            return
        scratch = memoryview(bytearray(block))
        for number in range(self._table.count):
            if until():
                return
            epoch = self._table.epoch
            data = scratch[: self._length(number, number + 1)]
            if not self._table.is_checked(number):
                continue
            if self._pread(number * block, data) == len(data) and epoch == self._table.epoch:
                # Punched right now, the block's CRC won't fit the hole: a miss.
                index.mark(number, array("I", [crc32(data)]))
        self.origin = Origin.STORED

    def shed(self, want: int) -> int:
        """Free the oldest blocks, `want` bytes or all there are; return the bytes freed."""
        freed = 0
        while freed < want:
            claimed = self._table.claim_oldest(-(-(want - freed) // self.identity.block))
            if claimed is None:
                break
            (start, stop), before = claimed
            if not self._punch(start, stop):
                self._table.restore(start, before)
                break
            self._table.settle(start, stop, ABSENT)
            self._give(self._cost(start, stop))
            freed += self._cost(start, stop)
        return freed

    def _lose(self, number: int, epoch: int) -> None:
        """Drop one block that isn't what it should be."""
        if self._table.claim_bad(number, epoch):
            log.warning("cached block %d of %s is damaged, dropped", number, self.key)
            self._punch(number, number + 1)
            self._table.settle(number, number + 1, ABSENT)
            self._give(self._cost(number, number + 1))

    def _punch(self, start: int, stop: int) -> bool:
        """Free the disk space of a run that is BUSY; False where the filesystem can't."""
        try:
            # To the end of its last page: the tail of the file takes a whole one.
            punch(self._fd, start * self.identity.block, self._cost(start, stop))
            if self._index is not None:
                self._index.clear(start, stop - start)
        except OSError as error:
            log.debug("no hole in the cache file of %s: %s", self.key, error)
            return False
        return True

    def _open(self) -> None:
        if self.origin is Origin.NOTHING:
            return
        try:
            states = self._load()
        except (OSError, Broken) as error:
            log.warning("cached blocks of %s dropped: %s", self.key, error)
            self._reset()
            return
        if self.origin is Origin.ADOPTED:
            states = bytearray([CHECKED]) * self._table.count
        held = PAGE + sum(self._cost(start, stop) for start, stop in self._table.load(states))
        self._recount(held)

    def _load(self) -> bytearray:
        self._index = Index.load(self.pair.index)
        self._fd = os.open(self.pair.data, os.O_RDWR | os.O_CLOEXEC)
        if self._index.identity != self.identity:
            raise Broken("another version")
        if os.fstat(self._fd).st_size != self.size:
            raise Broken("the data file has another size")
        return self._index.states()

    def _reset(self) -> None:
        self.release()
        self.remove()
        self.origin = Origin.NOTHING
        self._recount(0)

    def _create(self) -> bool:
        """Make the files of a version that had none; False when the disk won't."""
        with self._setup:
            if self._index is None:
                try:
                    self._take(PAGE)
                    self._make_files()
                except NoSpace as error:
                    log.debug("not cached: %s", error)
                except OSError as error:
                    self._health.failed(error)
                except Broken as error:
                    log.debug("not cached: %s", error)
            return self._index is not None

    def _make_files(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._fd = os.open(self.pair.data, flags, 0o600)
            os.ftruncate(self._fd, self.size)
            self._index = Index.create(self.pair.index, self.identity)
            self.origin = Origin.STORED
        except BaseException:
            self._reset()
            raise

    def rename(self, identity: Identity, pair: Pair) -> None:
        """The same bytes are another version; after an error this one is to be forgotten."""
        self.prepare()
        with self._setup:
            former, self.pair, self.identity = self.pair, pair, identity
            if self._index is not None:
                self._index.rename(identity)
                former.rename(pair)

    def remove(self) -> None:
        """Unlink the files; descriptors stay usable."""
        self.pair.remove()

    def release(self) -> None:
        """Close the descriptors; the index's time says when the version was last used."""
        if self._index is not None:
            with suppress(OSError):
                os.utime(self._index.fd)
            self._index.close()
            self._index = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Give back one use; the last one closes the descriptors."""
        self._closed(self)

    def _take(self, size: int) -> None:
        self._account.take(size)
        with self._count:
            self._held += size

    def _give(self, size: int) -> None:
        with self._count:
            self._held -= size
        self._account.give(size)

    def _recount(self, held: int) -> None:
        """Make `held` what this holds, whatever it was thought to hold."""
        with self._count:
            change, self._held = held - self._held, held
        if change < 0:
            self._account.give(-change)
        else:
            self._account.found(change)

    def _length(self, first: int, last: int) -> int:
        """Bytes of the blocks [first, last)."""
        block = self.identity.block
        return min(last * block, self.size) - first * block

    def _cost(self, first: int, last: int) -> int:
        """Bytes that the blocks [first, last) take on the disk: whole pages."""
        return -(-self._length(first, last) // PAGE) * PAGE
