"""The fusepy driver: translates libfuse 2's path calls to the node-based core.

For laptops, macOS and unprivileged fusermount; pods use the kernel session instead. fusepy's own
methods decode names strictly, copy read data twice and answer exceptions with garbage, so each is
overridden. Every exception becomes an errno in `_wrapper`, and nowhere else.

Threading: libfuse calls from its own threads, many at a time.
"""

import ctypes
import errno
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from fusefs import locks
from fusefs.errors import FsError, Invalid, errno_of
from fusefs.failurewarnings import Refusals
from fusefs.interface import ROOT, Attributes, Caller, Calls, Change
from fusefs.locks import Rank
from fusefs.timings import Timings

try:
    import fuse
except ModuleNotFoundError as error:
    raise ImportError(
        "the fusepy driver isn't installed: pip install 's3mount[fusepy]', and libfuse 2 with"
        " fusermount (Debian: apt-get install libfuse2 fuse3). As root, leave out --driver fusepy"
    ) from error
except OSError as error:  # fusepy looks for libfuse when it is imported
    raise ImportError(
        "the fusepy driver needs libfuse 2 (Debian: apt-get install libfuse2): " + str(error)
    ) from error

log = logging.getLogger(__name__)

UTIME_NOW = (1 << 30) - 1  # linux/stat.h
UTIME_OMIT = (1 << 30) - 2
UNCHANGED = 0xFFFFFFFF  # (uid_t) -1
PREFERRED_IO = 128 << 10  # st_blksize: the buffer size of stdio and cp
ENTRIES = 256
# The C library skips entries with inode 0; this is libfuse's own "not known".
UNKNOWN_INODE = 0xFFFFFFFF
# Nodes kept after a path call, for the next call on the same path.
HELD = 50_000


class Operations:
    """The object that fusepy inspects: which calls exist, and in which form."""

    use_ns = True
    flag_nullpath_ok = 1
    flag_utime_omit_ok = 1

    def __getattr__(self, name: str) -> Any:
        if name in _CALLS:
            return True
        raise AttributeError(name)


_CALLS = frozenset(
    [
        "getattr",
        "readlink",
        "mknod",
        "mkdir",
        "unlink",
        "rmdir",
        "symlink",
        "rename",
        "link",
        "chmod",
        "chown",
        "truncate",
        "open",
        "read",
        "write",
        "statfs",
        "flush",
        "release",
        "fsync",
        "setxattr",
        "getxattr",
        "listxattr",
        "removexattr",
        "opendir",
        "readdir",
        "releasedir",
        "init",
        "create",
        "utimens",
    ]
)


def run(
    calls: Calls,
    mountpoint: str,
    ready: Callable[[], None],
    times: Timings[tuple[str, int]],
    **options: Any,
) -> None:
    """Mount and serve until the mount ends. Raises FsError where libfuse can't mount.

    `ready` is called at FUSE_INIT; `times` collects the duration of each call, in seconds.
    """
    _Fuse(calls, mountpoint, ready, times, options)


class _Fuse(fuse.FUSE):  # type: ignore[misc]  # fusepy has no types
    """fusepy's low-level class with all its methods replaced."""

    def __init__(
        self,
        calls: Calls,
        mountpoint: str,
        ready: Callable[[], None],
        times: Timings[tuple[str, int]],
        options: dict[str, Any],
    ) -> None:
        self._calls = calls
        self._times = times
        self._ready = ready
        self._held: OrderedDict[int, None] = OrderedDict()
        self._open_nodes: dict[int, int] = {}
        self._lock = locks.lock(Rank.LEAF)
        self._refusals = Refusals()
        # fusepy keeps this bound call per operation; as an instance attribute it may log.
        self._wrapper = self._guard
        try:
            super().__init__(Operations(), mountpoint, raw_fi=True, foreground=True, **options)
        except RuntimeError as error:
            raise FsError(f"libfuse could not mount {mountpoint} (status {error})") from error

    @staticmethod
    def _name(function: Any) -> str:
        return str(getattr(function, "__name__", function))

    def _guard(self, function: Callable[..., int | None], *arguments: Any) -> int:
        """Call one operation and note its duration; return its result or a negative errno."""
        began = time.monotonic()
        result = self._answer(function, arguments)
        self._times.note((self._name(function), max(0, -result)), time.monotonic() - began)
        return result

    def _answer(self, function: Callable[..., int | None], arguments: tuple[Any, ...]) -> int:
        """Call one operation; the one place where an exception becomes a negative errno."""
        try:
            return function(*arguments) or 0
        except (FsError, OSError) as error:
            self._refusals.warn(self._name(function), error)
            log.debug("%s failed", self._name(function), exc_info=True)
            return -errno_of(error)
        except BaseException as error:
            log.exception("a bug: %s", self._name(function))
            return -errno_of(error)

    # -- paths -----------------------------------------------------------------------------------

    def _node(self, path: bytes) -> int:
        node = ROOT
        for name in path.split(b"/"):
            if name:
                node = self._hold(self._calls.lookup(node, os.fsdecode(name)).node)
        return node

    def _parent(self, path: bytes) -> tuple[int, str]:
        directory, _, name = path.rpartition(b"/")
        return self._node(directory), os.fsdecode(name)

    def _hold(self, node: int) -> int:
        """Keep one lookup reference to each of the last `HELD` nodes used; return `node`."""
        with self._lock:
            extra = node in self._held
            self._held[node] = None
            self._held.move_to_end(node)
            oldest = self._held.popitem(last=False)[0] if len(self._held) > HELD else None
        if extra:
            self._calls.forget(node, 1)
        if oldest is not None:
            self._calls.forget(oldest, 1)
        return node

    @staticmethod
    def _caller() -> Caller:
        uid, gid, pid = fuse.fuse_get_context()
        return Caller(uid, gid, pid)

    # -- attributes ------------------------------------------------------------------------------

    def getattr(self, path: bytes, buffer: Any) -> int:
        return self._stat(self._calls.getattr(self._node(path)), buffer.contents)

    def fgetattr(self, path: bytes | None, buffer: Any, info: Any) -> int:
        handle = info.contents.fh
        node = self._handle_node(handle) if path is None else self._node(path)
        return self._stat(self._calls.getattr(node, handle), buffer.contents)

    def _handle_node(self, handle: int) -> int:
        """Return the node of an open file that no longer has a path."""
        node = self._open_nodes.get(handle)
        if node is None:
            raise Invalid("a call without path and without open file")
        return node

    @staticmethod
    def _stat(found: Attributes, into: Any) -> int:
        ctypes.memset(ctypes.byref(into), 0, ctypes.sizeof(into))
        into.st_ino = found.inode or found.node
        into.st_mode = found.mode
        into.st_nlink = found.nlink
        into.st_uid = found.uid
        into.st_gid = found.gid
        into.st_rdev = found.rdev
        into.st_size = found.size
        into.st_blksize = PREFERRED_IO
        into.st_blocks = -(-found.size // 512)
        for field, ns in (
            (into.st_atimespec, found.atime_ns),
            (into.st_mtimespec, found.mtime_ns),
            (into.st_ctimespec, found.ctime_ns),
        ):
            field.tv_sec, field.tv_nsec = divmod(ns, 1_000_000_000)
        return 0

    def chmod(self, path: bytes, mode: int) -> None:
        self._calls.setattr(self._node(path), Change(mode=mode))

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        self._calls.setattr(
            self._node(path),
            Change(uid=None if uid == UNCHANGED else uid, gid=None if gid == UNCHANGED else gid),
        )

    def truncate(self, path: bytes, length: int) -> None:
        self._calls.setattr(self._node(path), Change(size=length))

    def ftruncate(self, path: bytes | None, length: int, info: Any) -> None:
        handle = info.contents.fh
        self._calls.setattr(self._open_nodes[handle], Change(size=length), handle)

    def utimens(self, path: bytes, buffer: Any) -> None:
        now = time.time_ns()
        times: list[int | None] = [now, now]
        if buffer:
            for at, field in enumerate((buffer.contents.actime, buffer.contents.modtime)):
                if field.tv_nsec == UTIME_OMIT:
                    times[at] = None
                elif field.tv_nsec != UTIME_NOW:
                    times[at] = field.tv_sec * 1_000_000_000 + field.tv_nsec
        self._calls.setattr(self._node(path), Change(atime_ns=times[0], mtime_ns=times[1]))

    # -- names -----------------------------------------------------------------------------------

    def readlink(self, path: bytes, buffer: Any, size: int) -> None:
        target = os.fsencode(self._calls.readlink(self._node(path)))[: size - 1] + b"\0"
        ctypes.memmove(buffer, target, len(target))

    def mknod(self, path: bytes, mode: int, device: int) -> None:
        parent, name = self._parent(path)
        self._hold(self._calls.mknod(parent, name, mode, device, self._caller()).node)

    def mkdir(self, path: bytes, mode: int) -> None:
        parent, name = self._parent(path)
        self._hold(self._calls.mkdir(parent, name, mode, self._caller()).node)

    def unlink(self, path: bytes) -> None:
        self._calls.unlink(*self._parent(path))

    def rmdir(self, path: bytes) -> None:
        self._calls.rmdir(*self._parent(path))

    def symlink(self, target: bytes, path: bytes) -> None:
        parent, name = self._parent(path)
        made = self._calls.symlink(parent, name, os.fsdecode(target), self._caller())
        self._hold(made.node)

    def rename(self, old: bytes, new: bytes) -> None:
        parent, name = self._parent(old)
        self._calls.rename(parent, name, *self._parent(new))

    def link(self, old: bytes, new: bytes) -> None:
        self._calls.link(self._node(old), *self._parent(new))

    # -- files -----------------------------------------------------------------------------------

    def open(self, path: bytes, info: Any) -> None:
        fields = info.contents
        opened = self._calls.open(self._node(path), fields.flags)
        self._opened(opened.handle, self._node(path), fields)
        fields.keep_cache = opened.keep_cache
        # libfuse has one inode for all versions: a handle of another bypasses the page cache.
        fields.direct_io = opened.direct_io or opened.apart

    def create(self, path: bytes, mode: int, info: Any) -> None:
        fields = info.contents
        parent, name = self._parent(path)
        made, opened = self._calls.create(parent, name, mode, fields.flags, self._caller())
        self._opened(opened.handle, self._hold(made.node), fields)
        fields.direct_io = opened.apart

    def _opened(self, handle: int, node: int, fields: Any) -> None:
        fields.fh = handle
        self._open_nodes[handle] = node

    def read(self, path: bytes | None, buffer: Any, size: int, offset: int, info: Any) -> int:
        # Straight into the buffer libfuse replies with: no bytes object in between.
        target = (ctypes.c_char * size).from_address(ctypes.addressof(buffer.contents))
        return self._calls.read_into(info.contents.fh, offset, memoryview(target).cast("B"))

    def write(self, path: bytes | None, buffer: Any, size: int, offset: int, info: Any) -> int:
        source = (ctypes.c_char * size).from_address(ctypes.addressof(buffer.contents))
        return self._calls.write(info.contents.fh, offset, memoryview(source).cast("B"))

    def flush(self, path: bytes | None, info: Any) -> None:
        self._calls.flush(info.contents.fh)

    def fsync(self, path: bytes | None, datasync: int, info: Any) -> None:
        self._calls.fsync(info.contents.fh)

    def release(self, path: bytes | None, info: Any) -> None:
        handle = info.contents.fh
        self._open_nodes.pop(handle, None)
        self._calls.release(handle)

    # -- directories -----------------------------------------------------------------------------

    def opendir(self, path: bytes, info: Any) -> None:
        info.contents.fh = self._calls.opendir(self._node(path)).handle

    def readdir(self, path: bytes | None, buffer: Any, fill: Any, offset: int, info: Any) -> None:
        handle = info.contents.fh
        entry = fuse.c_stat()
        while True:
            found = self._calls.readdir(handle, offset, ENTRIES)
            if not found:
                return
            for item in found:
                entry.st_mode = item.mode
                entry.st_ino = item.inode or UNKNOWN_INODE
                if fill(buffer, os.fsencode(item.name), ctypes.byref(entry), item.offset):
                    return
                offset = item.offset

    def releasedir(self, path: bytes | None, info: Any) -> None:
        self._calls.releasedir(info.contents.fh)

    def statfs(self, path: bytes, buffer: Any) -> None:
        found, into = self._calls.statfs(), buffer.contents
        into.f_bsize = into.f_frsize = found.bsize
        into.f_blocks, into.f_bfree, into.f_bavail = found.blocks, found.bfree, found.bavail
        into.f_files, into.f_ffree, into.f_favail = found.files, found.ffree, found.ffree
        into.f_namemax = found.namemax

    # -- extended attributes ---------------------------------------------------------------------

    def setxattr(
        self, path: bytes, name: bytes, value: Any, size: int, options: int, *rest: Any
    ) -> None:
        data = ctypes.string_at(value, size)
        self._calls.setxattr(self._node(path), os.fsdecode(name), data, options)

    def getxattr(self, path: bytes, name: bytes, value: Any, size: int, *rest: Any) -> int:
        return _give(self._calls.getxattr(self._node(path), os.fsdecode(name)), value, size)

    def listxattr(self, path: bytes, names: Any, size: int) -> int:
        found = self._calls.listxattr(self._node(path))
        return _give(b"".join(os.fsencode(name) + b"\0" for name in found), names, size)

    def removexattr(self, path: bytes, name: bytes) -> None:
        self._calls.removexattr(self._node(path), os.fsdecode(name))

    # -- the session -----------------------------------------------------------------------------

    def init(self, connection: Any) -> None:
        self._ready()


def _give(data: bytes, buffer: Any, size: int) -> int:
    """Answer a getxattr or listxattr, with the length only where `size` is 0."""
    if size == 0 or not buffer:
        return len(data)
    if len(data) > size:
        raise OSError(errno.ERANGE, "the buffer is too small")
    ctypes.memmove(buffer, data, len(data))
    return len(data)
