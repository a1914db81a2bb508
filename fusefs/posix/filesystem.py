"""POSIX behaviour over one bucket: answers every call of `interface.Calls`.

It knows nodes and handles; it knows no FUSE structs and no S3 requests. Any thread. What it is made
of: `tree` (names), `lookup` (finding), `namespace` (changing names), `files` (content).
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import replace

from fusefs import keys
from fusefs.attributes import LINK_MOST, Posix, Shown
from fusefs.errors import (
    Exists,
    FsError,
    Invalid,
    NotADirectory,
    NotFound,
    NotPermitted,
    ReadOnly,
    Stale,
)
from fusefs.interface import Attributes, Caller, Change, DirEntry, Extent, Opened, Statfs
from fusefs.keys import MAX_NAME
from fusefs.names.listing import Entry
from fusefs.names.lookup import Lookup
from fusefs.names.namespace import Namespace
from fusefs.names.selfcopy import SelfCopies
from fusefs.names.tree import Node, Tree
from fusefs.posix.directories import OpenDirectories
from fusefs.posix.nodeattributes import NodeAttributes, current
from fusefs.posix.openfiles import OpenFiles
from fusefs.posix.restore import found, reopen
from fusefs.posix.setattr import changed
from fusefs.posix.xattrs import Xattrs
from fusefs.resend import is_resent
from fusefs.session.sessionlog import SessionState
from fusefs.write.filecontent import FileContent
from fusefs.write.flush import Flush
from fusefs.write.unsent import DirtySet, Unsent

# What `df` shows: a bucket has no size. 1 PiB, as block counts that fit 32-bit programs.
STATFS_BLOCK = 1 << 20
BLOCKS = 1 << 30
NEW_FILE = Entry(directory=False)


class Filesystem:
    """The calls of one mount."""

    def __init__(
        self,
        tree: Tree,
        lookup: Lookup,
        files: OpenFiles,
        copies: SelfCopies,
        namespace: Namespace,
        flush: Flush,
        dirty: DirtySet,
        shown: Shown | None = None,
    ) -> None:
        self.tree = tree
        self.lookups = lookup
        self.files = files
        self.copies = copies
        self._xattrs = Xattrs(lookup, copies)
        self.namespace = namespace
        self._flush = flush
        self._dirty = dirty
        self._attributes = NodeAttributes(tree, lookup, shown or Shown())
        self._directories = OpenDirectories(tree, lookup, files)

    # -- names and attributes --------------------------------------------------------------------

    def lookup(self, parent: int, name: str) -> Attributes:
        """Find a name; takes a lookup reference."""
        directory = self._directory(parent)
        try:
            node = self.lookups.glance(directory, name)
        except NotFound:
            # Others may make longer names, so that it isn't there had to be asked for.
            keys.check_length(name)
            raise
        with self.tree.lock:
            node.lookups += 1
        return self._reported(node, by_lookup=True)

    def _reported(self, node: Node, *, by_lookup: bool = False) -> Attributes:
        """Return the attributes for the kernel, valid for 0 s where OPEN may take an answer."""
        first = self.lookups.first
        taken = first.waiting and first.reported(self.tree.key(node), by_lookup=by_lookup)
        attributes = self._attributes.of(node)
        return replace(attributes, ttl=0.0) if taken else attributes

    def adopt(self, parent: int, name: str) -> Attributes | None:
        """Take the reference for a directory entry; None where only a LOOKUP can say why not."""
        try:
            return self.lookup(parent, name)
        except FsError:
            return None

    def forget(self, node: int, count: int) -> None:
        """Give lookup references back."""
        self.tree.forget(node, count)

    def known(self, node: int) -> bool:
        """Return whether the kernel has a lookup reference left."""
        return self.tree.referenced(node)

    def _directory(self, number: int) -> Node:
        node = self.tree.get(number)
        if not node.directory:
            raise NotADirectory(f"{self.tree.key(node)} is not a directory")
        if node is self.tree.root and node.posix is None:
            self._attributes.learn_root(node)
        return node

    def getattr(self, node: int, handle: int | None = None) -> Attributes:
        """Return attributes; of an open file those of its handle's content."""
        found = self.tree.get(node)
        if found is self.tree.root:
            if found.posix is None:
                self._attributes.learn_root(found)
            return self._attributes.of(found)
        body = self.files.body_of(handle)
        if body is not None and (body is not found.body or body.replaced):
            self.lookups.first.lose(self.tree.key(found))
            return self._attributes.of_content(found, body)
        if found.posix is None or not (found.gone or (found.handles and current(found))):
            self.lookups.refresh(found)
        return self._reported(found)

    def setattr(self, node: int, change: Change, handle: int | None = None) -> Attributes:
        """Change attributes; see `interface.Change`."""
        found = self.tree.get(node)
        self.lookups.first.lose(self.tree.key(found))
        self._writable()
        if change.size is not None:
            self.files.resize(found, change.size, handle)
        asked = replace(change, size=None)
        if asked != Change():
            self.copies.set_posix(found, lambda posix: changed(posix, asked))
        return self._attributes.of(found)

    def _writable(self) -> None:
        if self.files.read_only:
            raise ReadOnly("the mount is read-only")

    def readlink(self, node: int) -> str:
        """Return a symbolic link's target."""
        found = self.tree.get(node)
        if found.posix is None or not stat.S_ISLNK(found.posix.mode):
            raise Invalid(f"{self.tree.key(found)} is not a symbolic link")
        answer = self.lookups.store.get_start(self.tree.key(found), LINK_MOST, whole=True)
        # s3fs before 1.7x wrote a line break behind the target.
        target = answer[1].rstrip(b"\n") if answer is not None else b""
        return os.fsdecode(target)

    # -- changing names --------------------------------------------------------------------------

    def mknod(self, parent: int, name: str, mode: int, rdev: int, caller: Caller) -> Attributes:
        """Make an empty file, a fifo or a socket."""
        return self._made(self.namespace.mknod(self._directory(parent), name, mode, caller))

    def mkdir(self, parent: int, name: str, mode: int, caller: Caller) -> Attributes:
        """Make a directory."""
        return self._made(self.namespace.mkdir(self._directory(parent), name, mode, caller))

    def symlink(self, parent: int, name: str, target: str, caller: Caller) -> Attributes:
        """Make a symbolic link."""
        return self._made(self.namespace.symlink(self._directory(parent), name, target, caller))

    def _made(self, node: Node) -> Attributes:
        with self.tree.lock:
            node.lookups += 1
        return self._attributes.of(node)

    def unlink(self, parent: int, name: str) -> None:
        """Remove a file."""
        self.namespace.unlink(self._directory(parent), name)

    def rmdir(self, parent: int, name: str) -> None:
        """Remove an empty directory."""
        self.namespace.rmdir(self._directory(parent), name)

    def rename(
        self, parent: int, name: str, new_parent: int, new_name: str, flags: int = 0
    ) -> None:
        """Rename a file or directory."""
        self.namespace.rename(
            self._directory(parent), name, self._directory(new_parent), new_name, flags
        )

    def link(self, node: int, new_parent: int, new_name: str) -> Attributes:
        """Refuse: an object has one key."""
        raise NotPermitted("hard links can't be made in a bucket: one file is one object")

    # -- files -----------------------------------------------------------------------------------

    def open(self, node: int, flags: int) -> Opened:
        """Open a file."""
        before = self.files.opened_before(self.files.is_open)
        if before is not None:
            return before
        found = self.tree.get(node)
        try:
            return self.files.open(found, flags)
        except NotFound as error:
            if found.gone:
                raise
            # The kernel looks the name up again, and then creates it where that is wanted.
            self.lookups.vanished(found)
            raise Stale(f"{error}; removed by somebody else") from error

    def create(
        self, parent: int, name: str, mode: int, flags: int, caller: Caller
    ) -> tuple[Attributes, Opened]:
        """Create a file if it isn't there, and open it."""
        directory = self._directory(parent)
        self.namespace.writable(directory, name)
        exclusive = bool(flags & os.O_EXCL)
        before = self.files.opened_before(self.files.is_open) if is_resent() else None
        made = self._made_before(directory, name) if exclusive else None
        try:
            # Nobody need ask before an exclusive creation: its PUT finds out.
            node = self.lookups.find(directory, name, to_make=not exclusive, by_listing=True)
        except NotFound:
            node = self.namespace.new_node(directory, name, directory=False)
            posix = self.namespace.new_posix(stat.S_IFREG | stat.S_IMODE(mode), caller)
            opened = self._begin(directory, node, flags, posix, exclusive)
        else:
            if exclusive and made is not node and before is None:
                raise Exists(f"{self.tree.key(node)} exists already")
            opened = before or self.files.open(node, flags)
        with self.tree.lock:
            node.lookups += 1
        return self._attributes.of(node), opened

    def _made_before(self, directory: Node, name: str) -> Node | None:
        """Return the file that an earlier try of an exclusive create made; it is in S3 now."""
        node = self.namespace.made_before(directory, name)
        if node is not None and node.body is not None:
            try:
                node.body.commit(exclusive=True)
            except BaseException:
                self.tree.detach(node)
                raise
        return node

    def _begin(
        self, directory: Node, node: Node, flags: int, posix: Posix, exclusive: bool
    ) -> Opened:
        try:
            opened = self.files.create(node, flags, posix, exclusive)
        except BaseException:
            self.tree.detach(node)
            raise
        if node.info is None:
            self.tree.listed(directory, node.name, NEW_FILE)
        self.tree.changed(directory)
        return opened

    def read_into(self, handle: int, offset: int, view: memoryview) -> int:
        """Read; see `interface.Calls`."""
        return self.files.read_into(handle, offset, view)

    def read_now(self, handle: int, offset: int, view: memoryview) -> int:
        """Read what is in memory; see `interface.Calls`."""
        return self.files.read_now(handle, offset, view)

    def extent(self, handle: int, offset: int, size: int) -> Extent | None:
        """Return where cached bytes are; see `interface.Calls`."""
        return self.files.extent(handle, offset, size)

    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        """Write all of `data`."""
        return self.files.write(handle, offset, data)

    def flush(self, handle: int) -> None:
        """Bring the file to S3: the `close(2)` of one descriptor.

        Of one that could write: a reader's close reports no failed upload of others.
        """
        self.files.flush(handle)

    def fsync(self, handle: int) -> None:
        """Bring the file to S3."""
        self.files.commit(handle)

    def release(self, handle: int) -> None:
        """Close a handle."""
        self.files.release(handle)

    def begin_passthrough(self, handle: int) -> int:
        """Let the kernel read an open file by itself; see `interface.Calls`."""
        return self.files.passthrough.begin(handle)

    def end_passthrough(self, handle: int) -> None:
        """Read an open file through us."""
        self.files.passthrough.end(handle)

    def fallocate(self, handle: int, mode: int, offset: int, length: int) -> None:
        """Allocate, punch or zero."""
        self.files.fallocate(handle, mode, offset, length)

    def copy_range(
        self, source: int, source_offset: int, target: int, target_offset: int, length: int
    ) -> int:
        """Copy between two handles."""
        return self.files.copy_range(source, source_offset, target, target_offset, length)

    def lseek(self, handle: int, offset: int, whence: int) -> int:
        """Find data or a hole."""
        return self.files.lseek(handle, offset, whence)

    # -- directories -----------------------------------------------------------------------------

    def opendir(self, node: int) -> Opened:
        """Open a directory stream."""
        return self._directories.open(self._directory(node))

    def readdir(self, handle: int, offset: int, want: int) -> Sequence[DirEntry]:
        """Return the next entries of a stream."""
        return self._directories.read(handle, offset, want)

    def releasedir(self, handle: int) -> None:
        """Close a directory stream."""
        self._directories.release(handle)

    def restore(self, state: SessionState, changed: Sequence[FileContent]) -> None:
        """Go on with the nodes and handles of a former process, whose changes are `changed`."""
        self.tree.restore(state)
        reopen(self.files, state, changed)
        self._directories.restore(state)

    def found(self, changed: FileContent) -> None:
        """Show what a former process could not upload, and was taken over just now."""
        found(self.files, changed)

    def statfs(self) -> Statfs:
        """Return numbers that let `df` and installers go on; no request."""
        return Statfs(STATFS_BLOCK, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, MAX_NAME)

    # -- extended attributes ---------------------------------------------------------------------

    def setxattr(self, node: int, name: str, value: bytes, flags: int) -> None:
        """Set an extended attribute: one self-copy, or part of a dirty file's commit."""
        self._writable()
        self._xattrs.set(self.tree.get(node), name, value, flags)

    def getxattr(self, node: int, name: str) -> bytes:
        """Return the value of an extended attribute."""
        return self._xattrs.get(self.tree.get(node), name)

    def listxattr(self, node: int) -> Sequence[str]:
        """Return the names of all extended attributes."""
        return self._xattrs.names(self.tree.get(node))

    def removexattr(self, node: int, name: str) -> None:
        """Remove an extended attribute."""
        self._writable()
        self._xattrs.remove(self.tree.get(node), name)

    # -- the whole mount -------------------------------------------------------------------------

    def syncfs(self) -> None:
        """Upload everything dirty; raise the first failure when all were tried."""
        failures: list[Exception] = []

        def ended(_: Unsent, error: Exception | None) -> None:
            if error is not None:
                failures.append(error)

        self._flush.each(self._dirty.all(), ended)
        if failures:
            raise failures[0]
