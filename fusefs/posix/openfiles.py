"""Open files: what can be done with handles on bodies.

Knows neither directories nor FUSE. Any thread; a node's `lock` guards its `body` and is held over
the request that binds a body to a version (the handle's own), never while another node's is.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial

from fusefs.attributes import Posix
from fusefs.cache.cache import Cache
from fusefs.errors import BadHandle, Invalid, IsADirectory, NoData, ReadOnly, Stale, Unsupported
from fusefs.interface import Extent, Opened
from fusefs.names.lookup import Lookup
from fusefs.names.selfcopy import SelfCopies
from fusefs.names.tree import Node, Tree
from fusefs.posix.copyrange import copy_range
from fusefs.posix.handles import Handle, HandleTable
from fusefs.posix.opening import Opening
from fusefs.posix.passthrough import Passthrough, logged
from fusefs.posix.sweeps import Sweeps
from fusefs.resend import is_resent, unique
from fusefs.session.sessionlog import PASSTHROUGH
from fusefs.waiting import waits_if_held
from fusefs.write.contents import FileContents
from fusefs.write.filecontent import FileContent
from fusefs.write.unsent import Unsent

log = logging.getLogger(__name__)

WRITING = os.O_WRONLY | os.O_RDWR
SEEK_DATA, SEEK_HOLE = 3, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16


class OpenFiles:
    """All open files of a mount. `first` is how many bytes an open for reading brings along.

    `kernel_reads`: of a read-only mount the kernel gets each file that is cached as a whole.
    `extents`: drivers are told where cached bytes are.
    """

    def __init__(
        self,
        tree: Tree,
        lookup: Lookup,
        copies: SelfCopies,
        contents: FileContents,
        cache: Cache,
        first: int,
        read_only: bool,
        sweeps: Sweeps | None = None,
        passthrough: int = 0,
        kernel_reads: bool = True,
        extents: bool = True,
    ) -> None:
        self.tree = tree
        self.lookup = lookup
        self.copies = copies
        self.contents = contents
        self.read_only = read_only
        self._kernel_reads = read_only and kernel_reads
        self._lends = extents
        self._opening = Opening(tree, lookup, contents, cache, first, self.attach, sweeps)
        self._handles = HandleTable()
        self.passthrough = Passthrough(tree, self._handles, passthrough)
        self._begun: Mapping[int, int] = {}
        self.closing = False

    def number(self) -> int:
        """Return a handle number that wasn't used before, for a file or a directory."""
        return self._handles.number()

    def open_handles(self) -> Mapping[int, int]:
        """Return the open handles, each with its node."""
        return self._handles.nodes()

    def body_of(self, handle: int | None) -> FileContent | None:
        """Return the content of a handle, None where it isn't open (any more)."""
        found = self._handles.get(handle)
        return found.body if found is not None else None

    def open_contents(self) -> Mapping[int, int]:
        """Return the open handles, each with the number of what it reads and writes."""
        return self._handles.contents()

    def start_after(self, number: int, begun: Mapping[int, int]) -> None:
        """Give no handle a number up to this one: they were a former process's.

        `begun`: the handles, of files and directories, by the requests that opened them.
        """
        self._handles.start_after(number)
        self._begun = begun

    def is_open(self, handle: int) -> bool:
        """Say whether a file handle is open."""
        return handle in self._handles

    def opened_before(self, still_open: Callable[[int], bool]) -> Opened | None:
        """Return the handle that a former process opened for the running request, if it did."""
        number = self._begun.get(unique()) if is_resent() else None
        if number is None or not still_open(number):
            return None
        handle = self._handles.get(number)
        self.passthrough.end(number)  # the answer that said so was never sent
        return Opened(number, content=handle.body.number if handle is not None else 0)

    def reopened(self, number: int, node: Node, body: FileContent, flags: int) -> None:
        """Go on with a handle of a former process."""
        handle = _handle(node, body, flags)
        handle.passthrough = bool(flags & PASSTHROUGH)
        self._handles.add(number, handle)
        node.handles += 1

    def attach(self, node: Node, body: FileContent) -> None:
        """Make a body the content of its node; what it commits is the node's."""
        body.on_commit = partial(self._committed, node)
        node.body = body

    def in_use(self, node: Node, body: FileContent) -> bool:
        """Say whether a handle of a node has this content open."""
        return self._handles.uses(node, body)

    def get(self, handle: int) -> Handle:
        """Return an open handle; raises BadHandle."""
        return self._handles.opened(handle)

    # -- opening ---------------------------------------------------------------------------------

    def open(self, node: Node, flags: int, *, reported: bool = True) -> Opened:
        """Open a file: bound to the version S3 has now, unless this mount has it dirty.

        `reported`: the kernel gets the handle, so a next process has to know it.
        """
        if node.directory:
            raise IsADirectory(f"{self.tree.key(node)} is a directory")
        if flags & WRITING:
            self._writable()
        began = time.monotonic()
        waits_if_held(node.lock)
        with node.lock:
            before = node.info.etag if node.info is not None else None
            body = self._opening.bind(node, flags, began)
            if flags & WRITING and self._handles.in_passthrough(body):
                body = self._opening.apart(node, body)
            changed = before != body.etag
            if flags & os.O_TRUNC and flags & WRITING and (body.size or body.dirty):
                body.resize(0)
            return self._register(node, body, flags, reported=reported, changed=changed)

    def _writable(self) -> None:
        if self.read_only:
            raise ReadOnly("the mount is read-only")
        if self.closing:
            raise ReadOnly("the mount is being shut down; nothing new can be written")

    def _register(
        self,
        node: Node,
        body: FileContent,
        flags: int,
        *,
        reported: bool = True,
        changed: bool = False,
    ) -> Opened:
        number = self._handles.number()
        others = self._handles.add(number, _handle(node, body, flags))
        body.apart = body.apart or others
        with self.tree.lock:
            node.handles += 1
        if reported:
            self.tree.journal.opened(number, node.id, flags, logged(body.info))
        etag = body.etag
        keep = etag is not None and node.cached_etag == etag and not body.dirty
        if not body.apart:
            node.cached_etag = etag
        whole = body.whole_fd() if self._kernel_reads and not body.dirty else -1
        asked = not self.read_only and not flags & WRITING and self.passthrough.possible(body)
        return Opened(
            number,
            keep_cache=keep,
            changed=changed,
            whole_fd=whole,
            asked=asked,
            content=body.number,
            apart=body.apart,
        )

    def create(self, node: Node, flags: int, posix: Posix, exclusive: bool) -> Opened:
        """Begin a new file and open it; with `exclusive` it is in S3 before this returns."""
        if self.read_only or self.closing:
            self._writable()
        with node.lock:
            body = self.contents.new(self.tree.key(node), None, posix, node.id)
            body.on_commit = partial(self._committed, node)
            body.create(flags)
            if exclusive:
                body.commit(exclusive=True)
            node.body = body
            node.posix = posix
            node.checked = time.monotonic()
            return self._register(node, body, flags)

    # -- using -----------------------------------------------------------------------------------

    def read_into(self, handle: int, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset`; fewer bytes only at the end of the file."""
        found = self.get(handle)
        if found.stream is None and not found.body.dirty:
            found.stream = found.body.stream()
        return found.body.read_into(offset, view, found.stream)

    def read_now(self, handle: int, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset` where nothing has to be waited for, else return -1."""
        found = self._handles.get(handle)
        clean = found.body.clean if found is not None else None
        return clean.read_now(offset, view) if clean is not None else -1

    def extent(self, handle: int, offset: int, size: int) -> Extent | None:
        """Return where the bytes of a read are, if all are checked and in a file of the cache."""
        found = self._handles.get(handle) if self._lends else None
        clean = found.body.clean if found is not None else None
        return clean.extent(offset, size) if clean is not None else None

    def _changing(self, handle: int) -> Handle:
        """Return a handle whose file may be changed now, with all that a commit must keep."""
        found = self._handles.opened(handle)
        if not found.writes:
            raise BadHandle("the file was not opened for writing")
        if self.read_only or self.closing:
            self._writable()
        body = found.body
        unknown = body.info is not None and body.info.headers is None
        if unknown and not body.dirty and not body.unlinked:
            self._complete(found.node, body)
        return found

    def _complete(self, node: Node, body: FileContent) -> None:
        """Learn the headers of an object we know from a LIST or a journal only."""
        version = body.version
        info, _ = self.lookup.store.changes.settled(
            body.key, lambda: self.lookup.store.head(body.key)
        )
        if body.dirty or body.version != version:
            return  # by another descriptor, which has learned them
        if info.etag != body.etag:
            raise Stale(f"{body.key} was replaced by somebody else since it was opened")
        posix = self.lookup.posix(info, directory=False)
        body.learned(info, posix)
        node.posix = posix

    def write(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        """Write all of `data`."""
        found = self._changing(handle)
        # Sent again, an append may be done already: the kernel's own offset makes it the same.
        append = bool(found.flags & os.O_APPEND) and not is_resent()
        found.body.write(offset, data, append)
        if found.flags & (os.O_SYNC | os.O_DSYNC):
            found.body.commit()
        return len(data)

    def flush(self, handle: int) -> None:
        """Bring a file to S3 that the handle could write; raises what went wrong."""
        found = self._handles.opened(handle)
        if found.writes:
            found.body.commit()

    def commit(self, handle: int) -> None:
        """Bring a file to S3, whoever has changed it; raises what went wrong."""
        found = self.get(handle)
        if found.writes or found.body.dirty:
            found.body.commit()

    def release(self, handle: int) -> None:
        """Close a handle. What couldn't be committed goes on being tried in the background."""
        found = self._handles.remove(handle)
        if found is None:
            if is_resent():
                return
            raise BadHandle(f"file handle {handle} is not open")
        node, body = found.node, found.body
        try:
            if body.dirty and found.writes and body.failure is None:
                body.commit()
        finally:
            waits_if_held(node.lock)
            with node.lock:
                if not self._handles.uses(node, body):
                    self._close(node, body)
            self.tree.journal.closed(handle)
            self.tree.released(node)

    def _close(self, node: Node, body: FileContent) -> None:
        if body.dirty and not body.unlinked:
            return  # node and body stay until the retries succeed
        body.close()
        if node.body is body:
            node.body = None

    def settle(self, file: Unsent) -> None:
        """Let go of a file that was committed in the background, where no handle is left on it."""
        try:
            node = self.tree.get(file.node)
        except Stale:
            return
        body = node.body
        if body is None or body is not file:
            return
        with node.lock:
            if not self.in_use(node, body):
                self._close(node, body)
        with self.tree.lock:
            node.handles += 1
        self.tree.released(node)

    def _committed(self, node: Node, body: FileContent) -> None:
        info = body.info
        if info is None:
            return
        self.lookup.remember(info)
        self.copies.became(node, body, info)
        with self.tree.lock:
            node.info = info
            node.posix = body.posix
            node.checked = time.monotonic()
            node.cached_etag = None if body.apart else info.etag
            body.replaced = False
            self.tree.made(node)

    # -- the less common calls -------------------------------------------------------------------

    def fallocate(self, handle: int, mode: int, offset: int, length: int) -> None:
        """Allocate (a promise S3 needs no space for), punch a hole or zero a range."""
        found = self._changing(handle)
        if length <= 0 or offset < 0:
            raise Invalid("fallocate needs a positive length and an offset that isn't negative")
        keep = bool(mode & FALLOC_KEEP_SIZE)
        end = offset + length
        if mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE):
            raise Unsupported(f"fallocate mode {mode:#x}")
        if mode & (FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE):
            found.body.zero(offset, end, keep_size=keep)
        elif not keep and end > found.body.size:
            found.body.resize(end)

    def copy_range(
        self, source: int, source_offset: int, target: int, target_offset: int, length: int
    ) -> int:
        """Copy between two handles; see `interface.Calls`."""
        origin, goal = self.get(source), self._changing(target)
        if goal.flags & os.O_APPEND:
            raise BadHandle("the target of copy_file_range must not be open for appending")
        return copy_range(origin.body, source_offset, goal.body, target_offset, length)

    def lseek(self, handle: int, offset: int, whence: int) -> int:
        """Find data or a hole. S3 objects have no holes: all is data, the end is one hole."""
        size = self.get(handle).body.size
        if offset >= size or offset < 0:
            raise NoData(f"offset {offset} is not within the file")
        if whence == SEEK_DATA:
            return offset
        if whence == SEEK_HOLE:
            return size
        raise Invalid(f"lseek whence {whence}")

    def resize(self, node: Node, size: int, handle: int | None) -> None:
        """Truncate or extend; of a file that isn't open the result is committed at once."""
        self._writable()
        if handle is not None and handle in self._handles and self.get(handle).writes:
            self._changing(handle).body.resize(size)
            return
        opened = self.open(node, os.O_WRONLY, reported=False)
        try:
            body = self._changing(opened.handle).body
            if size != body.size:
                body.resize(size)
            if node.handles == 1:
                body.commit()
        finally:
            self.release(opened.handle)


def _handle(node: Node, body: FileContent, flags: int) -> Handle:
    return Handle(node, body, flags, writes=bool(flags & WRITING))
