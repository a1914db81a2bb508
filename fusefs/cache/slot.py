"""One small cached version in a slab: its place, and its one block.

Not here: the file it is in (`slab`).

Threading: as `place.Blocks` says. A slot is one version's from its first byte on until `remove`.
"""

import errno
import logging
import os
import time

from fusefs.cache.blockindex import ABSENT, BLOCK, STORED, BrokenIndex, Identity, key_hash
from fusefs.cache.place import DiskState
from fusefs.cache.slab import ENTRY as LAYOUT
from fusefs.cache.slab import PAGE, STEP, USED, Slab, SlabEntry, Slabs, pages
from fusefs.crc32 import crc32
from fusefs.disk import pagecache
from fusefs.disk.fallocate import punch

log = logging.getLogger(__name__)

# Seconds that the time of the last use may be behind: who opens a file often writes it seldom.
USE_AGE = 60


class SlabSlot:
    """Where a version of at most one block is, and that block; `DiskPlace` and `Blocks` in one.

    Made without a place in a slab, which it gets with `create`, or as one found there.
    """

    __slots__ = ("_check", "_hashes", "_number", "_page", "_present", "_size", "_slabs", "_used",
                 "slab")  # fmt: skip

    overhead = 0  # the entry is counted with the slab
    fd = -1
    kept = False

    def __init__(self, slabs: Slabs) -> None:
        self._slabs = slabs
        self.slab: Slab | None = None
        self._number = self._page = self._size = self._check = self._used = 0
        self._hashes = (b"", b"")
        self._present = False

    @classmethod
    def found(
        cls, slabs: Slabs, slab: Slab, number: int, entry: SlabEntry, used: int
    ) -> "SlabSlot":
        """Return the slot of an entry that a former process wrote."""
        slot = cls(slabs)
        slot.slab, slot._number, slot._used = slab, number, used
        slot._page, slot._size, slot._check = entry.page, entry.size, entry.check
        slot._hashes = (entry.key, entry.etag)
        slot._present = True
        return slot

    def create(self, identity: Identity) -> "SlabSlot":
        """Take a place in a slab."""
        if not 0 < identity.size <= BLOCK:
            raise BrokenIndex(f"{identity.size} bytes aren't one block")
        self._size = identity.size
        self._hashes = _hashes(identity)
        self.slab, self._number, self._page = self._slabs.take(identity.size)
        return self

    def load(self, identity: Identity) -> "SlabSlot":
        """Return the block that is there."""
        if not self._present or (self._size, self._hashes) != (identity.size, _hashes(identity)):
            raise BrokenIndex("another version, or of another size")
        return self

    def whole(self, key: str) -> bool:
        """Return whether the block is there."""
        return self._present and self._hashes[0].hex() == key_hash(key)

    def adopt(self, path: str, identity: Identity, taken: int) -> tuple[DiskState, int]:
        """Copy a file, which takes less than making another one beside it."""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a text
            data = file.read(identity.size + 1)
        if len(data) != identity.size:
            raise BrokenIndex(f"it isn't {identity.size} bytes long")
        self.create(identity).write(0, memoryview(data))
        os.unlink(path)  # noqa: PTH108 - a text
        return DiskState.STORED, self.cost(0, 1)

    def states(self) -> bytearray:
        """Return ABSENT or STORED for the block."""
        return bytearray([STORED if self._present else ABSENT])

    def read(self, offset: int, view: memoryview) -> int:
        """Fill `view`; fewer bytes only if the file was truncated."""
        slab = self._in()
        view = view[: max(0, self._size - offset)]
        done = 0
        while done < len(view):
            count = pagecache.read(slab.fd, self._page * PAGE + offset + done, view[done:])
            if count == 0:
                break
            done += count
        return done

    def read_now(self, offset: int, view: memoryview) -> bool:
        """Fill all of `view` from the page cache; False if it isn't there."""
        slab = self.slab
        if slab is None or self._slabs.closed or offset + len(view) > self._size:
            return False
        return pagecache.in_memory(slab.fd, self._page * PAGE + offset, view)

    def intact(self, number: int, data: memoryview) -> bool:
        """Read the block into `data`; return whether its CRC32 fits."""
        return self.read(number * BLOCK, data) == len(data) and crc32(data) == self._check

    def lend(self, start: int, stop: int) -> None:
        """Return None: others' versions are in the file."""
        return

    def keep(self) -> bool:
        """Return False: the kernel reads no slab."""
        return False

    def write(self, start: int, data: memoryview) -> None:
        """Write the block, then its entry."""
        check, slab = crc32(data), self._in()
        offset = self._page * PAGE + start * BLOCK
        while data:
            done = os.pwrite(slab.fd, data, offset)
            data, offset = data[done:], offset + done
        self._check = check
        self._enter(slab)
        self._present = True

    def seal(self, number: int, data: memoryview) -> None:
        """Do nothing: what is adopted has its checksum."""

    def punch(self, start: int, stop: int) -> None:
        """Free the block's disk space."""
        slab, self._present = self._in(), False
        os.pwrite(slab.fd, bytes(LAYOUT.size), self._number * STEP)
        punch(slab.fd, self._page * PAGE, self.cost(start, stop))

    def cost(self, start: int, stop: int) -> int:
        """Return the bytes of the block on the disk: whole pages."""
        return pages(self._size) * PAGE if stop > start else 0

    def under(self, stem: str) -> "SlabSlot":
        """Return itself: a slot has no name."""
        return self

    def rename(self, key: str, etag: str, stem: str) -> None:
        """Change key and ETag; it stays where it is."""
        self._hashes = _hashes(Identity(key, etag, self._size))
        if self._present:
            self._enter(self._in())

    def close(self) -> None:
        """Note the time of the use."""
        now = int(time.time())
        if self._present and now - self._used > USE_AGE:
            self._used = now
            try:
                os.pwrite(self._in().fd, USED.pack(now), self._number * STEP + LAYOUT.size)
            except OSError as error:  # evicted just now, too
                log.debug("the use of a small version isn't noted: %s", error)

    def remove(self) -> None:
        """Free the place; a failure is logged, and left to the next start."""
        slab = self.slab
        if slab is None or self._slabs.closed:
            return
        try:
            self.punch(0, 1)
        except OSError as error:
            log.warning("cached content in %s can't be removed: %s", slab.path, error)
        self.slab = None
        self._slabs.left(slab)

    def _enter(self, slab: Slab) -> None:
        """Write the entry."""
        self._used = int(time.time())
        entry = SlabEntry(*self._hashes, self._page, self._size, self._check)
        os.pwrite(slab.fd, entry.packed(self._used), self._number * STEP)

    def _in(self) -> Slab:
        if self.slab is None or self._slabs.closed:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return self.slab


def _hashes(identity: Identity) -> tuple[bytes, bytes]:
    key, _, etag = identity.name.partition("-")
    return bytes.fromhex(key), bytes.fromhex(etag)
