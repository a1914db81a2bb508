"""The two open files of one cached version: block bytes in, block bytes out, checksums beside them.

The data file has the size of the object and its bytes at their own offsets, so that a whole one can
be registered for passthrough.

Not here: which blocks may be touched by whom (`blocktable`), what a disk error means (`cachefile`).

Threading: reads from any thread; writes and punches of distinct blocks from any thread; `rename`
and `close` by one thread while no other thread is in a call.
"""

import logging
import os
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO

from fusefs.cache.blockindex import BlockIndex, BrokenIndex, Identity
from fusefs.cache.place import DiskState
from fusefs.crc32 import crc32
from fusefs.disk import pagecache
from fusefs.disk.fallocate import punch
from fusefs.interface import WORTHWHILE

log = logging.getLogger(__name__)

PAGE = 4096
# Bytes up to which an adopted file gets its checksums at once: about a millisecond.
SEAL_AT_ONCE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of one version; paths are made when needed, for there may be many pairs.

    They are texts: a `Path` takes longer to make than opening the file does.
    """

    content: str
    stem: str

    @property
    def data(self) -> str:
        return f"{self.content}/{self.stem}.data"

    @property
    def index(self) -> str:
        return f"{self.content}/{self.stem}.index"

    @property
    def overhead(self) -> int:
        """Return the bytes of the index: one page is all of it up to 400 blocks."""
        return PAGE

    def create(self, identity: Identity) -> "BlockFile":
        """Make both files, without any block; leaves neither if it fails."""
        return BlockFile.create(self, identity)

    def load(self, identity: Identity) -> "BlockFile":
        """Open existing files; `BrokenIndex` unless they belong to this version."""
        return BlockFile.load(self, identity)

    def whole(self, key: str) -> bool:
        """Return whether all blocks of a version of `key` are there."""
        try:
            index = BlockIndex.load(self.index)
        except (OSError, BrokenIndex):
            return False
        try:
            return index.identity.key == key and 0 not in index.states()
        finally:
            index.close()

    def adopt(self, path: str, identity: Identity, taken: int) -> tuple[DiskState, int]:
        """Give a file a cached version's names; a small one has its checksums at once."""
        with FileIO(path) as file:
            if os.fstat(file.fileno()).st_size != identity.size:
                raise BrokenIndex(f"it isn't {identity.size} bytes long")
            sums = None
            if identity.size <= SEAL_AT_ONCE:
                sums = array("I", map(crc32, iter(partial(file.read, identity.block), b"")))
                if len(sums) != identity.blocks:
                    raise BrokenIndex("it became shorter")
            BlockIndex.create(self.index, identity, sums).close()
        os.rename(path, self.data)  # noqa: PTH104 - see above
        if sums is None:
            return DiskState.ADOPTED, taken
        return DiskState.STORED, taken + PAGE

    def remove(self) -> None:
        """Unlink both; a failure is logged, and the files are left to the next start."""
        for path in (self.index, self.data):
            try:
                os.unlink(path)  # noqa: PTH108 - see above
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("%s can't be removed: %s", path, error)

    def move(self, new: "Pair") -> None:
        """Rename both; after a kill in between the next start finds two halves and drops them."""
        os.rename(self.index, new.index)  # noqa: PTH104 - see above
        os.rename(self.data, new.data)  # noqa: PTH104 - see above

    def under(self, stem: str) -> "Pair":
        """Return the pair whose names begin so."""
        return Pair(self.content, stem)

    def rename(self, key: str, etag: str, stem: str) -> None:
        """Change key and ETag; the bytes stay, and are at `under(stem)` then."""
        index = BlockIndex.load(self.index)
        try:
            index.rename(Identity(key, etag, index.identity.size))
        finally:
            index.close()
        self.move(self.under(stem))


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
            count = pagecache.read(self.fd, offset + done, view[done:])
            if count == 0:
                break
            done += count
        return done

    def read_now(self, offset: int, view: memoryview) -> bool:
        """Fill all of `view` from the page cache; False if it isn't there."""
        return pagecache.in_memory(self.fd, offset, view)

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

    @property
    def kept(self) -> bool:
        """Whether the kernel may read the data by itself: no block is evicted."""
        return self._index.kept

    def keep(self) -> bool:
        """Note that the kernel reads or maps the data, for longer than anybody has it open here."""
        if self._index.identity.size >= WORTHWHILE:
            try:
                self._index.keep()
            except OSError as error:
                log.warning("%s isn't given to the kernel: %s", self.pair.data, error)
                return False
        return True

    def punch(self, start: int, stop: int) -> None:
        """Free the disk space of the blocks [start, stop); after an error all are there still."""
        self._index.clear(start, stop - start)
        if self._index.kept:
            return  # a damaged block: who has it mapped would read zeros until it is there again
        try:
            # To the end of the last page: the tail of the file occupies a whole one.
            punch(self.fd, start * self._index.identity.block, self.cost(start, stop))
        except OSError:
            with suppress(OSError):
                self._index.mark(start, self._index.sums(start, stop - start))
            raise

    def cost(self, start: int, stop: int) -> int:
        """Return the bytes that the blocks [start, stop) take on the disk: whole pages."""
        return -(-self._index.identity.length(start, stop) // PAGE) * PAGE

    def rename(self, key: str, etag: str, stem: str) -> None:
        """Change key and ETag; the bytes stay."""
        self._index.rename(Identity(key, etag, self._index.identity.size))
        former, self.pair = self.pair, self.pair.under(stem)
        former.move(self.pair)

    def close(self) -> None:
        """Close both; the index's mtime is the version's last use."""
        with suppress(OSError):
            os.utime(self._index.fd)
        self._index.close()
        os.close(self.fd)
