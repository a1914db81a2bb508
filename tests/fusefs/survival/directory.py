"""A filesystem that passes everything to a directory, and remembers nodes and handles on disk.

What a worker under test serves: kill -9 leaves its files and its journal, and the next one goes on.
The journal is one JSON array a line, written before the answer; resent calls are answered by their
outcome. Small and slow on purpose; open files that were unlinked are not its matter.
"""

import itertools
import json
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusefs import errors
from fusefs.interface import ROOT, Attributes, Caller, Change, DirEntry, Opened, Statfs
from fusefs.resend import is_resent


class Directory:
    """Answers `interface.Calls` from the directory `root`, with its journal in `journal`."""

    def __init__(self, root: Path, journal: Path, *, fresh: bool) -> None:
        self._root = root
        self._lock = threading.RLock()
        self._paths = {ROOT: ""}
        self._nodes = {"": ROOT}
        self._handles: dict[int, tuple[int, int, list[str]]] = {}
        self._descriptors: dict[int, int] = {}
        self.read_only = False
        if not fresh and journal.exists():
            self._restore(journal)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0)
        self._journal = os.open(journal, flags, 0o600)
        self._next_node = itertools.count(max(self._paths) + 1)
        self._next_handle = itertools.count(max(self._handles, default=0) + 1000)

    def open_handles(self) -> Mapping[int, int]:
        """Return handles restored from the journal, with their nodes."""
        return {number: handle[0] for number, handle in self._handles.items()}

    def open_contents(self) -> Mapping[int, int]:
        return {}

    def _restore(self, journal: Path) -> None:
        for line in journal.read_text().splitlines():
            try:
                what, *fields = json.loads(line)
            except ValueError:
                continue  # cut off by the kill: never acknowledged
            if what == "node":
                self._know(*fields)
            elif what == "move":
                self._move(*fields)
            elif what == "handle":
                self._handles[fields[0]] = (fields[1], fields[2], fields[3])
            elif what == "release":
                self._handles.pop(fields[0], None)

    def _write(self, *record: object) -> None:
        os.write(self._journal, json.dumps(record).encode() + b"\n")

    def _know(self, node: int, path: str) -> None:
        self._paths[node] = path
        self._nodes[path] = node

    def _move(self, old: str, new: str) -> None:
        for path, node in list(self._nodes.items()):
            if path == old or path.startswith(old + "/"):
                del self._nodes[path]
                self._know(node, new + path[len(old) :])

    def _node(self, path: str) -> int:
        with self._lock:
            if path not in self._nodes:
                node = next(self._next_node)
                self._write("node", node, path)
                self._know(node, path)
            return self._nodes[path]

    def _full(self, node: int) -> str:
        if node not in self._paths:
            raise errors.Stale(f"node {node}")
        return f"{self._root}{self._paths[node]}"

    def _child(self, parent: int, name: str) -> str:
        self._full(parent)
        return f"{self._paths[parent]}/{name}"

    def _attributes(self, path: str, status: os.stat_result | None = None) -> Attributes:
        s = status or os.lstat(f"{self._root}{path}")
        times = (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)
        return Attributes(self._node(path), s.st_mode, s.st_size, s.st_uid, s.st_gid, *times)

    def _open_handle(self, node: int, flags: int, names: list[str]) -> int:
        handle = next(self._next_handle)
        self._write("handle", handle, node, flags, names)
        self._handles[handle] = (node, flags, names)
        return handle

    def _descriptor(self, handle: int) -> int:
        with self._lock:
            if handle not in self._handles:
                raise errors.BadHandle(str(handle))
            if handle not in self._descriptors:
                node, flags, _ = self._handles[handle]
                mode = os.O_RDONLY if flags & os.O_ACCMODE == os.O_RDONLY else os.O_RDWR
                self._descriptors[handle] = os.open(self._full(node), mode)
            return self._descriptors[handle]

    def _may_write(self) -> None:
        if self.read_only:
            raise errors.ReadOnly("draining")

    # interface.Calls.

    def lookup(self, parent: int, name: str) -> Attributes:
        return self._attributes(self._child(parent, name))

    def adopt(self, parent: int, name: str) -> Attributes | None:
        try:
            return self.lookup(parent, name)
        except FileNotFoundError:
            return None

    def forget(self, node: int, count: int) -> None:
        """Nodes are kept: their number is that of the files ever seen."""

    def known(self, node: int) -> bool:
        return True

    def getattr(self, node: int, handle: int | None = None) -> Attributes:
        self._full(node)
        return self._attributes(self._paths[node])

    def setattr(self, node: int, change: Change, handle: int | None = None) -> Attributes:
        self._may_write()
        path = self._full(node)
        if change.size is not None:
            os.truncate(path, change.size)
        if change.mode is not None:
            os.chmod(path, stat.S_IMODE(change.mode))
        if change.mtime_ns is not None or change.atime_ns is not None:
            s = os.lstat(path)
            times = (change.atime_ns or s.st_atime_ns, change.mtime_ns or s.st_mtime_ns)
            os.utime(path, ns=times, follow_symlinks=False)
        return self.getattr(node)

    def readlink(self, node: int) -> str:
        return os.readlink(self._full(node))

    def mknod(self, parent: int, name: str, mode: int, rdev: int, caller: Caller) -> Attributes:
        raise errors.NotPermitted(name)

    def mkdir(self, parent: int, name: str, mode: int, caller: Caller) -> Attributes:
        self._may_write()
        path = self._child(parent, name)
        try:
            os.mkdir(f"{self._root}{path}", mode)
        except FileExistsError:
            if not is_resent():
                raise
        return self._attributes(path)

    def unlink(self, parent: int, name: str) -> None:
        self._may_write()
        self._remove(os.unlink, self._child(parent, name))

    def rmdir(self, parent: int, name: str) -> None:
        self._may_write()
        self._remove(os.rmdir, self._child(parent, name))

    def _remove(self, how: object, path: str) -> None:
        assert callable(how)
        try:
            how(f"{self._root}{path}")
        except FileNotFoundError:
            if not is_resent():
                raise
        self._nodes.pop(path, None)

    def symlink(self, parent: int, name: str, target: str, caller: Caller) -> Attributes:
        self._may_write()
        path = self._child(parent, name)
        try:
            os.symlink(target, f"{self._root}{path}")
        except FileExistsError:
            if not is_resent():
                raise
        return self._attributes(path)

    def rename(
        self, parent: int, name: str, new_parent: int, new_name: str, flags: int = 0
    ) -> None:
        self._may_write()
        old, new = self._child(parent, name), self._child(new_parent, new_name)
        with self._lock:
            try:
                os.rename(f"{self._root}{old}", f"{self._root}{new}")
            except FileNotFoundError:
                if not (is_resent() and os.path.lexists(f"{self._root}{new}")):
                    raise
            self._write("move", old, new)
            self._move(old, new)

    def link(self, node: int, new_parent: int, new_name: str) -> Attributes:
        raise errors.NotPermitted(new_name)

    def open(self, node: int, flags: int) -> Opened:
        if flags & os.O_ACCMODE:
            self._may_write()
        handle = self._open_handle(node, flags, [])
        descriptor = self._descriptor(handle)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
        whole = descriptor if os.environ.get("WHOLE") and not flags & os.O_ACCMODE else -1
        return Opened(handle, whole_fd=whole)

    def create(
        self, parent: int, name: str, mode: int, flags: int, caller: Caller
    ) -> tuple[Attributes, Opened]:
        self._may_write()
        path = self._child(parent, name)
        exclusive = os.O_EXCL if flags & os.O_EXCL and not is_resent() else 0
        made = os.open(f"{self._root}{path}", os.O_RDWR | os.O_CREAT | exclusive, mode & 0o7777)
        os.close(made)
        attributes = self._attributes(path)
        return attributes, Opened(self._open_handle(attributes.node, flags, []))

    def read_into(self, handle: int, offset: int, view: memoryview) -> int:
        return os.preadv(self._descriptor(handle), [view], offset)

    def read_now(self, handle: int, offset: int, view: memoryview) -> int:
        return -1

    def extent(self, handle: int, offset: int, size: int) -> None:
        return None

    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        descriptor = self._descriptor(handle)
        if self._handles[handle][1] & os.O_APPEND and not is_resent():
            offset = os.fstat(descriptor).st_size
        return os.pwrite(descriptor, data, offset)

    def flush(self, handle: int) -> None:
        """Written is written."""

    def fsync(self, handle: int) -> None:
        """Likewise: a kill of the process loses nothing."""

    def release(self, handle: int) -> None:
        with self._lock:
            self._write("release", handle)
            self._handles.pop(handle, None)
            descriptor = self._descriptors.pop(handle, -1)
        if descriptor >= 0:
            os.close(descriptor)

    def begin_passthrough(self, handle: int) -> int:
        return -1

    def end_passthrough(self, handle: int) -> None:
        """It was never begun."""

    def fallocate(self, handle: int, mode: int, offset: int, length: int) -> None:
        raise errors.Unsupported("fallocate")

    def copy_range(
        self, source: int, source_offset: int, target: int, target_offset: int, length: int
    ) -> int:
        data = os.pread(self._descriptor(source), min(length, 1 << 20), source_offset)
        return os.pwrite(self._descriptor(target), data, target_offset)

    def lseek(self, handle: int, offset: int, whence: int) -> int:
        return os.lseek(self._descriptor(handle), offset, whence)

    def opendir(self, node: int) -> Opened:
        names = [".", "..", *sorted(os.listdir(self._full(node)))]
        return Opened(self._open_handle(node, 0, names))

    def readdir(self, handle: int, offset: int, want: int) -> Sequence[DirEntry]:
        node, _, names = self._handles[handle]
        entries = []
        for place, name in enumerate(names[offset : offset + want], offset + 1):
            if name in (".", ".."):
                entries.append(DirEntry(name, stat.S_IFDIR, place))
            elif (known := self.adopt(node, name)) is not None:
                entries.append(DirEntry(name, known.mode, place, known=True))
        return entries

    def releasedir(self, handle: int) -> None:
        self.release(handle)

    def statfs(self) -> Statfs:
        return Statfs(4096, 1 << 30, 1 << 29, 1 << 28, 1 << 20, 1 << 19, 255)

    def setxattr(self, node: int, name: str, value: bytes, flags: int) -> None:
        raise errors.Unsupported(name)

    def getxattr(self, node: int, name: str) -> bytes:
        raise errors.NoAttribute(name)

    def listxattr(self, node: int) -> Sequence[str]:
        return []

    def removexattr(self, node: int, name: str) -> None:
        raise errors.NoAttribute(name)

    def syncfs(self) -> None:
        """Written is written."""
