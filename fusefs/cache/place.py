"""Where the blocks of one cached version are on disk: a pair of files (`blockfile`), or a slot in
a file of many small versions (`slot`).

Not here: when they are made, read or removed (`cachefile`, `cache`).
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from fusefs.cache.blockindex import Identity


class DiskState(Enum):
    """State of the disk when a file is opened."""

    NOTHING = 1
    STORED = 2
    ADOPTED = 3  # a whole file of ours, without checksums yet


class Blocks(Protocol):
    """The blocks of an open version; every call may raise OSError.

    Threading: reads from any thread; writes and punches of distinct blocks from any thread;
    `rename` and `close` by one thread while no other thread is in a call.
    """

    @property
    def fd(self) -> int:
        """A descriptor of a file with this content and nothing else, or -1."""

    @property
    def kept(self) -> bool:
        """Whether `keep` was called, by this process or a former one."""

    def keep(self) -> bool:
        """Have the bytes stay as they are, as long as there is the file; False where that fails."""

    def states(self) -> bytearray:
        """Return ABSENT or STORED for each block."""

    def read(self, offset: int, view: memoryview) -> int:
        """Fill `view`; fewer bytes only if the file was truncated."""

    def read_now(self, offset: int, view: memoryview) -> bool:
        """Fill all of `view` from the page cache; False if it isn't there."""

    def intact(self, number: int, data: memoryview) -> bool:
        """Read one block into `data`, which has its length; return whether its CRC32 fits."""

    def lend(self, start: int, stop: int) -> tuple[int, Sequence[int]] | None:
        """Return a new descriptor of the data for reading only, and the CRC32 of these blocks.

        None where others' bytes are in that file, too.
        """

    def write(self, start: int, data: memoryview) -> None:
        """Write whole blocks from block `start` on, then mark them as present."""

    def seal(self, number: int, data: memoryview) -> None:
        """Mark a block as present, with the CRC32 of `data`."""

    def punch(self, start: int, stop: int) -> None:
        """Free the disk space of the blocks [start, stop)."""

    def cost(self, start: int, stop: int) -> int:
        """Return the bytes that the blocks [start, stop) take on the disk: whole pages."""

    def rename(self, key: str, etag: str, stem: str) -> None:
        """Change key and ETag; the bytes stay, and are at `DiskPlace.under(stem)` then."""

    def close(self) -> None:
        """End the use of an open version."""


class DiskPlace(Protocol):
    """Where one version is, or will be; nobody has it open in calls of `remove` and `rename`."""

    @property
    def overhead(self) -> int:
        """Bytes on the disk beside those of the blocks."""

    def create(self, identity: Identity) -> Blocks:
        """Make what the blocks go to; nothing is left if it fails.

        Raises OSError, NoSpace, or `BrokenIndex` where this identity can't be stored.
        """

    def load(self, identity: Identity) -> Blocks:
        """Open what is there; OSError, or `BrokenIndex` unless it belongs to this version."""

    def whole(self, key: str) -> bool:
        """Return whether all blocks of a version of `key` are there."""

    def adopt(self, path: str, identity: Identity, taken: int) -> tuple[DiskState, int]:
        """Take in a file that has all of a version's bytes; it is gone afterwards.

        Returns how many bytes of the disk that takes; `taken` are those of the file. Raises as
        `create` does; then the file may be there still.
        """

    def remove(self) -> None:
        """Remove it from the disk; a failure is logged, and left to the next start."""

    def under(self, stem: str) -> "DiskPlace":
        """Return the place where files have names that begin so; itself if its names are others."""

    def rename(self, key: str, etag: str, stem: str) -> None:
        """Change key and ETag; the bytes stay, and are at `under(stem)` then."""
