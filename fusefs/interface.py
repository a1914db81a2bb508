"""The calls between an adapter and the filesystem: node-based, free of FUSE structs and of S3.

`posix.filesystem` answers them; the drivers `fusepy` and `kernel` (/dev/fuse) make them.
Nodes and handles are plain integers. Node 1 is the root; an id is never reused, so the FUSE
generation is always 0. Names are `str` as `os.fsdecode` makes them (surrogates for bytes that
aren't UTF-8). Errors are `errors.FsError`; `errors.errno_of` turns anything into an errno.

Threading: every call may come from any thread, many at a time. All values here are immutable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

ROOT = 1
UNOPENED = -1
# Bytes from which passthrough is worth a registration: small files are where lock files live.
WORTHWHILE = 128 << 10


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller; new nodes belong to `uid` and `gid`. `pid` is for messages."""

    uid: int
    gid: int
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Attributes:
    """The `stat(2)` attributes of a node; `mode` has the type bits, times are ns since the epoch.

    `ttl` is how long, in seconds, the kernel may trust it without asking again. Where it isn't
    `settled`, only the name, its kind and its size are: for the rest the kernel has to ask.
    `content` names the open content (see `Opened`) that size and times are of: UNOPENED where they
    are of a version that nobody has open, 0 where it doesn't matter. `inode` is `st_ino`, of up to
    48 bits; 0 for the node's number.
    """

    node: int
    mode: int
    size: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    nlink: int = 1
    rdev: int = 0
    ttl: float = 1.0
    settled: bool = True
    content: int = 0
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A `setattr`: what isn't None is set. Times in ns; a size truncates or extends with zeros."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file or directory.

    `keep_cache`: what the kernel has cached of this file is still true (same ETag as before).
    `changed`: the attributes that the kernel has are not: others replaced the object.
    `whole_fd`: a descriptor of a cache file that holds exactly this content, for FUSE passthrough,
    or -1. It belongs to the handle: valid until `release`, not to be closed by the adapter.
    `asked`: files can be written here, and an option asks for passthrough all the same: an adapter
    that can do it gets the descriptor from `begin_passthrough`.
    `content`: what the handle reads and writes; handles of one content see each other's writes.
    `apart`: the file is open with another content, too, whose pages the kernel must not mix in.
    """

    handle: int
    keep_cache: bool = False
    changed: bool = False
    direct_io: bool = False
    whole_fd: int = -1
    asked: bool = False
    content: int = 0
    apart: bool = False


@dataclass(frozen=True, slots=True)
class DirEntry:
    """One name of a directory stream.

    `mode` holds type bits only, 0 where the type isn't known (DT_UNKNOWN). `offset` is the opaque
    cookie that continues the stream after this entry. `known` says that `adopt` would cost no
    request (for READDIRPLUS). `inode` is what `stat` will return; 0 where that isn't known.
    """

    name: str
    mode: int
    offset: int
    known: bool = False
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Statfs:
    """`statvfs(3)`: sizes in blocks of `bsize` bytes."""

    bsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    namemax: int


@dataclass(frozen=True, slots=True)
class KnownName:
    """A node that the kernel holds under a name."""

    node: int
    parent: int
    name: str
    directory: bool


class Invalidations(Protocol):
    """The receiver of invalidations of the kernel's caches; never blocks.

    Implemented by a driver that can notify its kernel, and by `Silent`.
    """

    def node_changed(self, node: int) -> None: ...

    def entry_changed(self, parent: int, name: str) -> None: ...

    def unneeded(self, names: Sequence[KnownName]) -> None:
        """Ask the kernel to forget nodes that are unused there; it may keep them."""


class Silent:
    """For drivers that can't notify: the kernel finds out when its TTL ends."""

    def node_changed(self, node: int) -> None:
        """Ignore it."""

    def entry_changed(self, parent: int, name: str) -> None:
        """Ignore it."""

    def unneeded(self, names: Sequence[KnownName]) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where bytes of an open file are: `size` of them at `offset` of a descriptor.

    They stay as they are until `release` is called, once, by any thread.
    """

    descriptor: int
    offset: int
    size: int
    release: Callable[[], None]

    def then(self, step: Callable[[], None]) -> "Extent":
        """Return the same, with one more step at its release."""

        def both() -> None:
            try:
                self.release()
            finally:
                step()

        return replace(self, release=both)


class Calls(Protocol):
    """Every call of an adapter. Arguments are already decoded and range-checked as integers.

    `lookup`, `mknod`, `mkdir`, `symlink`, `create`, `adopt` each take one lookup reference on the
    node they return; `forget` gives them back.
    """

    def lookup(self, parent: int, name: str) -> Attributes: ...

    def adopt(self, parent: int, name: str) -> Attributes | None:
        """Take the lookup reference for a directory entry; None when the name is gone by now."""

    def forget(self, node: int, count: int) -> None: ...

    def known(self, node: int) -> bool:
        """Return whether any lookup reference on a node is left; takes no lock."""

    def getattr(self, node: int, handle: int | None = None) -> Attributes:
        """Attributes of a node; with a handle those of the content that it has open."""

    def setattr(self, node: int, change: Change, handle: int | None = None) -> Attributes: ...

    def readlink(self, node: int) -> str: ...

    def mknod(self, parent: int, name: str, mode: int, rdev: int, caller: Caller) -> Attributes: ...

    def mkdir(self, parent: int, name: str, mode: int, caller: Caller) -> Attributes: ...

    def unlink(self, parent: int, name: str) -> None: ...

    def rmdir(self, parent: int, name: str) -> None: ...

    def symlink(self, parent: int, name: str, target: str, caller: Caller) -> Attributes: ...

    def rename(
        self, parent: int, name: str, new_parent: int, new_name: str, flags: int = 0
    ) -> None:
        """`flags` are those of renameat2(2): RENAME_NOREPLACE (1), RENAME_EXCHANGE (2)."""

    def link(self, node: int, new_parent: int, new_name: str) -> Attributes: ...

    def open(self, node: int, flags: int) -> Opened: ...

    def create(
        self, parent: int, name: str, mode: int, flags: int, caller: Caller
    ) -> tuple[Attributes, Opened]: ...

    def read_into(self, handle: int, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset`; return the bytes filled, fewer only at the end of file."""

    def read_now(self, handle: int, offset: int, view: memoryview) -> int:
        """Do what `read_into` does where that waits for no disk and no store, else return -1."""

    def extent(self, handle: int, offset: int, size: int) -> Extent | None:
        """Return where the bytes of a `read_into` are, if all are in one file; else None."""

    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        """Write all of `data`; with O_APPEND at the end of the file, whatever `offset` says."""

    def flush(self, handle: int) -> None: ...

    def fsync(self, handle: int) -> None: ...

    def release(self, handle: int) -> None: ...

    def begin_passthrough(self, handle: int) -> int:
        """Return an open file's `whole_fd`, -1 if none; who writes the file then has it apart."""

    def end_passthrough(self, handle: int) -> None:
        """Take it back: the handle is read through us."""

    def fallocate(self, handle: int, mode: int, offset: int, length: int) -> None: ...

    def copy_range(
        self, source: int, source_offset: int, target: int, target_offset: int, length: int
    ) -> int:
        """`copy_file_range(2)` between two handles; return the bytes copied, 0 at end of file."""

    def lseek(self, handle: int, offset: int, whence: int) -> int:
        """SEEK_DATA (3) and SEEK_HOLE (4) only; `NoData` (ENXIO) past the end."""

    def opendir(self, node: int) -> Opened: ...

    def readdir(self, handle: int, offset: int, want: int) -> Sequence[DirEntry]:
        """Up to `want` entries after cookie `offset` (0 starts), `.` and `..` included; [] ends.

        A stream returns each name at most once, however the directory changes meanwhile.
        """

    def releasedir(self, handle: int) -> None: ...

    def statfs(self) -> Statfs: ...

    def setxattr(self, node: int, name: str, value: bytes, flags: int) -> None:
        """`flags`: XATTR_CREATE (1), XATTR_REPLACE (2)."""

    def getxattr(self, node: int, name: str) -> bytes: ...

    def listxattr(self, node: int) -> Sequence[str]: ...

    def removexattr(self, node: int, name: str) -> None: ...

    def syncfs(self) -> None:
        """Upload everything dirty; raise the first failure."""
