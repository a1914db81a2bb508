"""A filesystem in memory behind `interface.Calls`: what the driver's tests mount.

Complete enough for POSIX programs, with one lock for everything. Open files keep their content when
their last name goes. `gates` lets a test hold a call, `calls` counts what was asked.
"""

import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fusefs import errors, resend
from fusefs.interface import ROOT, Attributes, Caller, Change, DirEntry, Extent, Opened, Statfs

TYPES = stat.S_IFMT(0xFFFF)


@dataclass
class Inode:
    mode: int
    uid: int
    gid: int
    content: bytearray = field(default_factory=bytearray)
    children: dict[str, int] = field(default_factory=dict)
    parent: int = ROOT
    target: str = ""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    times: list[int] = field(default_factory=lambda: [time.time_ns()] * 3)
    nlink: int = 1
    rdev: int = 0
    whole_fd: int = -1


@dataclass
class Handle:
    node: int
    flags: int = 0
    entries: list[tuple[str, int]] = field(default_factory=list)


class Memory:
    """Answers every call of `interface.Calls` from dictionaries."""

    def __init__(self, ttl: float = 1.0) -> None:
        self.ttl = ttl
        self.lock = threading.RLock()
        self.inodes = {ROOT: Inode(stat.S_IFDIR | 0o755, 0, 0)}
        self.lookups: Counter[int] = Counter()
        self.handles: dict[int, Handle] = {}
        self.extents: dict[int, Extent] = {}  # of handles, whatever is asked
        self.at_once = False  # whether small reads are answered by `read_now`
        self.calls: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.gates: dict[str, threading.Event] = {}
        self.seen_resent: list[str] = []
        self._next_node = ROOT + 1
        self._next_handle = 1
        self.limit = 1 << 40

    # What the filesystem's calls share.

    def note(self, call: str) -> None:
        """Count a call, and wait where a test closed its gate."""
        with self._counting:  # a Counter's first increment can be lost to another thread's
            self.calls[call] += 1
        if resend.is_resent():
            self.seen_resent.append(call)
        gate = self.gates.get(call)
        if gate is not None:
            gate.wait(30)

    def inode(self, node: int) -> Inode:
        try:
            return self.inodes[node]
        except KeyError:
            raise errors.Stale(f"node {node}") from None

    def attributes(self, node: int) -> Attributes:
        i = self.inode(node)
        size = len(i.content) if not i.target else len(i.target)
        return Attributes(node, i.mode, size, i.uid, i.gid, *i.times, i.nlink, i.rdev, self.ttl)

    def _child(self, parent: int, name: str) -> int:
        directory = self.inode(parent)
        if not stat.S_ISDIR(directory.mode):
            raise errors.NotADirectory(name)
        if name not in directory.children:
            raise errors.NotFound(name)
        return directory.children[name]

    def _add(self, parent: int, name: str, inode: Inode) -> Attributes:
        if len(os.fsencode(name)) > 255:
            raise errors.NameTooLong(name)
        if name in self.inode(parent).children:
            raise errors.Exists(name)
        node, self._next_node = self._next_node, self._next_node + 1
        self.inodes[node] = inode
        inode.parent = parent
        self.inode(parent).children[name] = node
        self._touch(parent)
        self.lookups[node] += 1
        return self.attributes(node)

    def _touch(self, node: int) -> None:
        self.inode(node).times[1:] = [time.time_ns()] * 2

    def _handle(self, node: int, flags: int = 0) -> Handle:
        handle = Handle(node, flags)
        self.handles[self._next_handle] = handle
        self._next_handle += 1
        return handle

    def _opened(self, node: int, flags: int) -> Opened:
        number = self._next_handle
        self._handle(node, flags)
        return Opened(number, whole_fd=self.inode(node).whole_fd)

    def _node(self, handle: int) -> Inode:
        if handle not in self.handles:
            raise errors.BadHandle(str(handle))
        return self.inode(self.handles[handle].node)

    def _collect(self, node: int) -> None:
        open_nodes = {handle.node for handle in self.handles.values()}
        if self.inode(node).nlink == 0 and not self.lookups[node] and node not in open_nodes:
            del self.inodes[node]

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise errors.TooBig(str(size))

    # interface.Calls.

    def lookup(self, parent: int, name: str) -> Attributes:
        self.note("lookup")
        with self.lock:
            node = self._child(parent, name)
            self.lookups[node] += 1
            return self.attributes(node)

    def adopt(self, parent: int, name: str) -> Attributes | None:
        try:
            return self.lookup(parent, name)
        except errors.NotFound:
            return None

    def forget(self, node: int, count: int) -> None:
        self.note("forget")
        with self.lock:
            self.lookups[node] -= count
            if node in self.inodes:
                self._collect(node)

    def known(self, node: int) -> bool:
        return self.lookups[node] > 0

    def getattr(self, node: int, handle: int | None = None) -> Attributes:
        self.note("getattr")
        return self.attributes(node)

    def setattr(self, node: int, change: Change, handle: int | None = None) -> Attributes:
        self.note("setattr")
        with self.lock:
            inode = self.inode(node)
            if change.mode is not None:
                inode.mode = inode.mode & TYPES | change.mode & ~TYPES
            inode.uid = inode.uid if change.uid is None else change.uid
            inode.gid = inode.gid if change.gid is None else change.gid
            if change.size is not None:
                self._check(change.size)
                del inode.content[change.size :]
                inode.content.extend(bytes(change.size - len(inode.content)))
                self._touch(node)
            for place, value in enumerate((change.atime_ns, change.mtime_ns, change.ctime_ns)):
                if value is not None:
                    inode.times[place] = value
            return self.attributes(node)

    def readlink(self, node: int) -> str:
        self.note("readlink")
        return self.inode(node).target

    def mknod(self, parent: int, name: str, mode: int, rdev: int, caller: Caller) -> Attributes:
        self.note("mknod")
        with self.lock:
            return self._add(parent, name, Inode(mode, caller.uid, caller.gid, rdev=rdev))

    def mkdir(self, parent: int, name: str, mode: int, caller: Caller) -> Attributes:
        self.note("mkdir")
        with self.lock:
            return self._add(parent, name, Inode(stat.S_IFDIR | mode, caller.uid, caller.gid))

    def unlink(self, parent: int, name: str) -> None:
        self.note("unlink")
        with self.lock:
            node = self._child(parent, name)
            if stat.S_ISDIR(self.inode(node).mode):
                raise errors.IsADirectory(name)
            self._drop(parent, name)

    def rmdir(self, parent: int, name: str) -> None:
        self.note("rmdir")
        with self.lock:
            inode = self.inode(self._child(parent, name))
            if not stat.S_ISDIR(inode.mode):
                raise errors.NotADirectory(name)
            if inode.children:
                raise errors.NotEmpty(name)
            self._drop(parent, name)

    def _drop(self, parent: int, name: str) -> None:
        node = self.inode(parent).children.pop(name)
        self.inode(node).nlink -= 1
        self._touch(parent)
        self._collect(node)

    def symlink(self, parent: int, name: str, target: str, caller: Caller) -> Attributes:
        self.note("symlink")
        with self.lock:
            link = Inode(stat.S_IFLNK | 0o777, caller.uid, caller.gid, target=target)
            return self._add(parent, name, link)

    def rename(
        self, parent: int, name: str, new_parent: int, new_name: str, flags: int = 0
    ) -> None:
        self.note("rename")
        with self.lock:
            node = self._child(parent, name)
            there = self.inode(new_parent).children.get(new_name)
            if there is not None and flags & 1:
                raise errors.Exists(new_name)
            if flags & 2:
                self.inode(parent).children[name] = self._child(new_parent, new_name)
            else:
                if there is not None:
                    self._drop(new_parent, new_name)
                del self.inode(parent).children[name]
            self.inode(new_parent).children[new_name] = node
            self.inode(node).parent = new_parent

    def link(self, node: int, new_parent: int, new_name: str) -> Attributes:
        self.note("link")
        with self.lock:
            if new_name in self.inode(new_parent).children:
                raise errors.Exists(new_name)
            self.inode(new_parent).children[new_name] = node
            self.inode(node).nlink += 1
            self.lookups[node] += 1
            return self.attributes(node)

    def open(self, node: int, flags: int) -> Opened:
        self.note("open")
        with self.lock:
            if flags & os.O_TRUNC:
                self.inode(node).content.clear()
                self._touch(node)
            return self._opened(node, flags)

    def create(
        self, parent: int, name: str, mode: int, flags: int, caller: Caller
    ) -> tuple[Attributes, Opened]:
        self.note("create")
        with self.lock:
            made = self._add(parent, name, Inode(mode, caller.uid, caller.gid))
            return made, self._opened(made.node, flags)

    def read_into(self, handle: int, offset: int, view: memoryview) -> int:
        self.note("read_into")
        content = self._node(handle).content
        size = max(0, min(len(view), len(content) - offset))
        view[:size] = memoryview(content)[offset : offset + size]
        return size

    def read_now(self, handle: int, offset: int, view: memoryview) -> int:
        """Read at once what `at_once` says."""
        return self.read_into(handle, offset, view) if self.at_once else -1

    def extent(self, handle: int, offset: int, size: int) -> Extent | None:
        """Return what a test put into `extents`."""
        return self.extents.get(handle)

    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        self.note("write")
        with self.lock:
            content = self._node(handle).content
            if self.handles[handle].flags & os.O_APPEND:
                offset = len(content)
            self._check(offset + len(data))
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
            self._touch(self.handles[handle].node)
            return len(data)

    def flush(self, handle: int) -> None:
        self.note("flush")

    def fsync(self, handle: int) -> None:
        self.note("fsync")

    def release(self, handle: int) -> None:
        self.note("release")
        with self.lock:
            node = self.handles.pop(handle).node
            self._collect(node)

    def begin_passthrough(self, handle: int) -> int:
        self.note("begin_passthrough")
        return -1

    def end_passthrough(self, handle: int) -> None:
        self.note("end_passthrough")

    def fallocate(self, handle: int, mode: int, offset: int, length: int) -> None:
        self.note("fallocate")
        with self.lock:
            content = self._node(handle).content
            self._check(offset + length)
            if mode & 2:
                end = min(offset + length, len(content))
                content[offset:end] = bytes(max(0, end - offset))
            elif not mode & 1:
                content.extend(bytes(max(0, offset + length - len(content))))

    def copy_range(
        self, source: int, source_offset: int, target: int, target_offset: int, length: int
    ) -> int:
        self.note("copy_range")
        data = bytes(self._node(source).content[source_offset : source_offset + length])
        return self.write(target, target_offset, data)

    def lseek(self, handle: int, offset: int, whence: int) -> int:
        self.note("lseek")
        size = len(self._node(handle).content)
        if offset >= size:
            raise errors.NoData(str(offset))
        return offset if whence == os.SEEK_DATA else size

    def opendir(self, node: int) -> Opened:
        self.note("opendir")
        with self.lock:
            number = self._next_handle
            inode = self.inode(node)
            here = [(".", node), ("..", inode.parent), *inode.children.items()]
            self._handle(node).entries = here
            return Opened(number)

    def readdir(self, handle: int, offset: int, want: int) -> Sequence[DirEntry]:
        self.note("readdir")
        entries = self.handles[handle].entries[offset : offset + want]
        return [
            DirEntry(name, self.inode(node).mode, offset + place, known=True)
            for place, (name, node) in enumerate(entries, 1)
            if node in self.inodes
        ]

    def releasedir(self, handle: int) -> None:
        self.note("releasedir")
        del self.handles[handle]

    def statfs(self) -> Statfs:
        self.note("statfs")
        return Statfs(4096, 1 << 30, 1 << 29, 1 << 28, 1 << 20, 1 << 19, 255)

    def setxattr(self, node: int, name: str, value: bytes, flags: int) -> None:
        self.note("setxattr")
        xattrs = self.inode(node).xattrs
        if flags & os.XATTR_CREATE and name in xattrs:
            raise errors.Exists(name)
        if flags & os.XATTR_REPLACE and name not in xattrs:
            raise errors.NoAttribute(name)
        xattrs[name] = value

    def getxattr(self, node: int, name: str) -> bytes:
        self.note("getxattr")
        try:
            return self.inode(node).xattrs[name]
        except KeyError:
            raise errors.NoAttribute(name) from None

    def listxattr(self, node: int) -> Sequence[str]:
        self.note("listxattr")
        return list(self.inode(node).xattrs)

    def removexattr(self, node: int, name: str) -> None:
        self.note("removexattr")
        self.getxattr(node, name)
        del self.inode(node).xattrs[name]

    def syncfs(self) -> None:
        self.note("syncfs")
