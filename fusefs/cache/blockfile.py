"""The two open files of one cached version: block bytes in, block bytes out, checksums beside them.

The data file has the size of the object and its bytes at their own offsets, so that a whole one can
be registered for passthrough.

Not here: which blocks may be touched by whom (`blocktable`), what a disk error means (`cachefile`).

Threading: reads from any thread; writes and punches of distinct blocks from any thread; `rename`
and `close` by one thread while no other thread is in a call.
"""

import os
from array import array
from collections.abc import Sequence
from contextlib import suppress

from fusefs.cache.blockindex import BlockIndex, BrokenIndex, Identity
from fusefs.cache.cachedir import Pair
from fusefs.crc32 import crc32
from fusefs.disk.fallocate import punch

PAGE = 4096


class BlockFile:
    """An open pair of files; every call may raise OSError."""

    def __init__(self, pair: Pair, index: BlockIndex, fd: int) -> None:
        self.pair = pair
        self.fd = fd
        self._index = index

    @classmethod
    def load(cls, pair: Pair, identity: Identity) -> "BlockFile":
        """Open existing files; `BrokenIndex` unless they belong to this version."""
        index = BlockIndex.load(pair.index)
        try:
            fd = os.open(pair.data, os.O_RDWR | os.O_CLOEXEC)
        except BaseException:
            index.close()
            raise
        if index.identity == identity and os.fstat(fd).st_size == identity.size:
            return cls(pair, index, fd)
        index.close()
        os.close(fd)
        raise BrokenIndex("another version, or of another size")

    @classmethod
    def create(cls, pair: Pair, identity: Identity) -> "BlockFile":
        """Make both files, without any block; leaves neither if it fails."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(pair.data, flags, 0o600)
            try:
                os.ftruncate(fd, identity.size)
                return cls(pair, BlockIndex.create(pair.index, identity), fd)
            except BaseException:
                os.close(fd)
                raise
        except BaseException:
            pair.remove()
            raise

    def states(self) -> bytearray:
        """Return ABSENT or STORED for each block."""
        return self._index.states()

    def read(self, offset: int, view: memoryview) -> int:
        """Fill `view`; fewer bytes only if the file was truncated."""
        done = 0
        while done < len(view):
            count = os.preadv(self.fd, [view[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def intact(self, number: int, data: memoryview) -> bool:
        """Read one block into `data`, which has its length; return whether its CRC32 fits."""
        done = self.read(number * self._index.identity.block, data)
        return done == len(data) and crc32(data) == self._index.sums(number, 1)[0]

    def lend(self, start: int, stop: int) -> tuple[int, Sequence[int]]:
        """Return a new descriptor of the data for reading only, and the CRC32 of these blocks."""
        sums = self._index.sums(start, stop - start)
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC), sums

    def write(self, start: int, data: memoryview) -> None:
        """Write whole blocks from block `start` on, then mark them as present in the index."""
        block = self._index.identity.block
        sums = array("I", (crc32(data[at : at + block]) for at in range(0, len(data), block)))
        offset = start * block
        while data:
            done = os.pwrite(self.fd, data, offset)
            data, offset = data[done:], offset + done
        self._index.mark(start, sums)

    def seal(self, number: int, data: memoryview) -> None:
        """Mark a block as present in the index, with the CRC32 of `data`."""
        self._index.mark(number, array("I", [crc32(data)]))

    def punch(self, start: int, stop: int) -> None:
        """Free the disk space of the blocks [start, stop)."""
        # To the end of the last page: the tail of the file occupies a whole one.
        punch(self.fd, start * self._index.identity.block, self.cost(start, stop))
        self._index.clear(start, stop - start)

    def cost(self, start: int, stop: int) -> int:
        """Return the bytes that the blocks [start, stop) take on the disk: whole pages."""
        return -(-self._index.identity.length(start, stop) // PAGE) * PAGE

    def rename(self, identity: Identity, pair: Pair) -> None:
        """Change key and ETag; the bytes stay."""
        self._index.rename(identity)
        former, self.pair = self.pair, pair
        former.rename(pair)

    def close(self) -> None:
        """Close both; the index's mtime is the version's last use."""
        with suppress(OSError):
            os.utime(self._index.fd)
        self._index.close()
        os.close(self.fd)
