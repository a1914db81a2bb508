"""Files that hold many small cached versions each: to make a file takes longer than to fill it.

Layout (little endian), one *slab*:

    0       64 bytes: magic, zeros; the last 4 bytes are the CRC32 of all before
    64*n    entry n, from 1 on, of one version: hashes of key and ETag, the page where its bytes
            begin, their number and CRC32, the CRC32 of the entry up to here; then, in no checksum,
            the time of the last use in seconds since the epoch, and zeros
    32768   bytes of versions, each from the beginning of a page of 4096 on

No place is used twice: a version that goes leaves a hole, and a slab goes with its last version. So
nobody ever reads another version's bytes. The entry is written after the bytes: after a kill in
between there is none, and the next start frees what no entry has. Whatever else happens to a slab,
the CRC32 of an entry or of the bytes no longer fits, and the version is a miss.

Not here: one version in a slab (`slot`).

Threading: any thread. `Slabs._lock`, a leaf, guards which slab is filled and how many slots each
has; it is held over no system call. A slab's descriptor lives as long as anybody refers to it.
"""

import errno
import logging
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from fusefs import locks
from fusefs.cache.blockindex import BLOCK, BrokenIndex
from fusefs.crc32 import crc32
from fusefs.disk.fallocate import punch
from fusefs.disk.space import Account
from fusefs.errors import NoSpace
from fusefs.locks import Rank

log = logging.getLogger(__name__)

MAGIC = b"s3mslab1"
PAGE = 4096
HEADER = struct.Struct("<8s52xI")
ENTRY = struct.Struct("<16s12sIIII")
CHECKED = ENTRY.size - 4  # bytes of an entry that its CRC32 is of
USED = struct.Struct("<I")
STEP = 64
INDEX = 32768
ENTRIES = INDEX // STEP
# Slabs beyond which the emptiest goes, and beyond which none is made. Each is a descriptor; the
# versions that a mount keeps fill 32 where they are as large as can be.
MANY, MOST = 128, 256
LOOK_SECONDS = 1.0

_CANT = (errno.EOPNOTSUPP, errno.ENOSYS)
FILE = re.compile(r"slab\.([0-9a-f]+)\.slab")


@dataclass(frozen=True, slots=True)
class SlabEntry:
    """What a slab says of one version."""

    key: bytes
    etag: bytes
    page: int
    size: int
    check: int

    @property
    def name(self) -> str:
        """The version's name, as `Identity` has it."""
        return f"{self.key.hex()}-{self.etag.hex()}"

    def packed(self, used: int) -> bytes:
        """Return the entry as it is on disk."""
        whole = ENTRY.pack(self.key, self.etag, self.page, self.size, self.check, 0)
        body = whole[:CHECKED]
        return body + USED.pack(crc32(body)) + USED.pack(used)


class Slab:
    """One open file of versions; `slots` and `taken` are guarded by the lock of `Slabs`.

    `taken`: bytes of the disk that its entries take.
    """

    def __init__(self, path: str, serial: int, fd: int) -> None:
        self.path = path
        self.serial = serial
        self.fd = fd
        self.slots = 0
        self.taken = PAGE
        self._number, self._page = 1, INDEX // PAGE
        self._looked = (0.0, False)

    def __del__(self) -> None:
        os.close(self.fd)

    @classmethod
    def create(cls, path: str, serial: int) -> "Slab":
        """Make an empty slab; OSError also where the filesystem can't free parts of a file."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        slab = cls(path, serial, fd)
        try:
            os.pwrite(fd, _header(), 0)
            punch(fd, INDEX, PAGE)
        except BaseException:
            slab.unlink()
            raise
        return slab

    @classmethod
    def load(cls, path: str, serial: int) -> "Slab":
        """Open a former process's; `BrokenIndex` or OSError if it isn't usable."""
        slab = cls(path, serial, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        slab._number = ENTRIES
        if os.pread(slab.fd, HEADER.size, 0) != _header():
            raise BrokenIndex("no slab of this version")
        return slab

    def entries(self) -> Iterator[tuple[int, SlabEntry, int]]:
        """Return number, entry and time of last use of each version there is."""
        index = os.pread(self.fd, INDEX, 0)
        self.taken = pages(len(index.rstrip(b"\0"))) * PAGE
        for number in range(1, len(index) // STEP):
            key, etag, page, size, check, total = ENTRY.unpack_from(index, number * STEP)
            body = index[number * STEP :][:CHECKED]
            fits = 0 < size <= BLOCK and page * PAGE >= INDEX and crc32(body) == total
            if fits:
                used = USED.unpack_from(index, number * STEP + ENTRY.size)[0]
                yield number, SlabEntry(key, etag, page, size, check), used

    def free_others(self, entries: list[SlabEntry]) -> None:
        """Free the disk space of what isn't of these: a kill may have left it."""
        at = INDEX // PAGE
        end = -(-os.fstat(self.fd).st_size // PAGE)
        for entry in sorted(entries, key=lambda entry: entry.page):
            if entry.page > at:
                punch(self.fd, at * PAGE, (entry.page - at) * PAGE)
            at = max(at, entry.page + pages(entry.size))
        if end > at:
            punch(self.fd, at * PAGE, (end - at) * PAGE)

    def reserve(self, size: int) -> tuple[int, int] | None:
        """Return number and first page for so many bytes; None when the slab is full."""
        if self._number >= ENTRIES:
            return None
        taken = self._number, self._page
        self._number += 1
        self._page += pages(size)
        self.slots += 1
        return taken

    @property
    def gone(self) -> bool:
        """Whether somebody has removed the file, as seen within the last second."""
        now = time.monotonic()
        if now > self._looked[0]:
            self._looked = (now + LOOK_SECONDS, os.fstat(self.fd).st_nlink == 0)
        return self._looked[1]

    def unlink(self) -> None:
        """Remove the file; a failure is logged, and left to the next start."""
        try:
            os.unlink(self.path)  # noqa: PTH108 - a text, as the paths of pairs
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s can't be removed: %s", self.path, error)


def pages(size: int) -> int:
    """Return how many pages so many bytes take."""
    return -(-size // PAGE)


def _header() -> bytes:
    body = HEADER.pack(MAGIC, 0)[:-4]
    return body + USED.pack(crc32(body))


class Slabs:
    """The slabs of one cache. `path` returns those for a new one: its path and its serial."""

    def __init__(self, account: Account, path: Callable[[], tuple[str, int]]) -> None:
        self._account = account
        self._path = path
        self._lock = locks.lock(Rank.LEAF)
        self._current: Slab | None = None
        self._all: set[Slab] = set()
        self.closed = False
        self._works = True
        self._grown = False

    @property
    def usable(self) -> bool:
        """False where small versions are to be stored as the others are."""
        return self._works and len(self._all) < MOST

    def take(self, size: int) -> tuple[Slab, int, int]:
        """Return a place for so many bytes: slab, number of the entry, first page.

        Raises OSError, NoSpace, or `BrokenIndex` where slabs aren't `usable`.
        """
        while True:
            current = self._current
            if current is not None and not current.gone:
                with self._lock:
                    taken = current.reserve(size) if current is self._current else None
                if taken is not None:
                    if not taken[0] * STEP % PAGE:
                        self._enlarge(current)
                    return current, *taken
            self._replace(current)

    def _enlarge(self, slab: Slab) -> None:
        """Count one more page of entries."""
        try:
            with self._account.writing(PAGE), self._lock:
                slab.taken += PAGE
        except NoSpace:
            self.left(slab)
            raise

    def _replace(self, former: Slab | None) -> None:
        """Have another slab filled from now on, unless another thread has seen to that."""
        if self.closed:  # the next process has the directory, and the serials
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        with self._account.writing(PAGE):
            made = self._made()
        with self._lock:
            mine = self._current is former
            if mine:
                self._current = made
                self._all.add(made)
                self._grown = True
        if mine and former is not None:
            self._look(former)
        if not mine:
            made.unlink()
            self._account.give(made.taken)

    def _made(self) -> Slab:
        path, serial = self._path()
        try:
            return Slab.create(path, serial)
        except OSError as error:
            if error.errno not in _CANT:
                raise
            self._works = False
            raise BrokenIndex("this filesystem can't free parts of a file") from error

    def found(self, path: str, serial: int) -> list[tuple[Slab, int, SlabEntry, int]]:
        """Return what a former process has left in a slab: number, entry, time of last use.

        A slab without a version is removed; so is one that can't be used, with a line in the log.
        """
        try:
            slab = Slab.load(path, serial)
            found = list(slab.entries())
            if found:
                slab.free_others([entry for _, entry, _ in found])
        except (OSError, BrokenIndex) as error:
            log.warning("cached content in %s dropped: %s", path, error)
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - see above
            return []
        if not found:
            slab.unlink()
            return []
        slab.slots = len(found)
        self._all.add(slab)
        self._account.found(slab.taken)
        return [(slab, number, entry, used) for number, entry, used in found]

    def left(self, slab: Slab) -> None:
        """Note that a version has gone from a slab."""
        with self._lock:
            slab.slots -= 1
        self._look(slab)

    def _look(self, slab: Slab) -> None:
        """Remove a slab that is empty."""
        with self._lock:
            empty = not slab.slots and slab in self._all
            if empty:
                self._all.remove(slab)
                self._current = None if slab is self._current else self._current
        if empty:
            slab.unlink()
            self._account.give(slab.taken)

    def close(self) -> None:
        """Let go of all slabs: from now on another process may make holes in them, or delete them.

        Who has a version open still can neither read nor change it.
        """
        with self._lock:
            self.closed = True
            self._current = None
            self._all.clear()

    @property
    def crowded(self) -> bool:
        """True once after another slab was made where there are many."""
        crowded, self._grown = self._grown and len(self._all) > MANY, False
        return crowded

    def sparsest(self, slabs: Iterable[Slab]) -> Slab | None:
        """Return the one with the fewest versions of some slabs, but not the one being filled."""
        with self._lock:
            others = set(slabs) - {self._current}
            return min(others, key=lambda slab: slab.slots, default=None)
