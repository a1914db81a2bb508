"""Changing names: make, link symbolically, remove. Renaming is `moves`.

Each change reaches S3 before it is shown in the tree, so a failure leaves both as they were. Any
thread; no tree lock is held over a request.
"""

import logging
import os
import stat
import time
from dataclasses import replace

from fusefs import attributes, keys
from fusefs.attributes import Posix
from fusefs.cache.cache import Cache
from fusefs.errors import (
    Exists,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotPermitted,
    ReadOnly,
    Stale,
    Unsupported,
)
from fusefs.interface import Caller
from fusefs.names.emptiness import has_content
from fusefs.names.listing import Listing
from fusefs.names.lookup import Lookup
from fusefs.names.rename import Renames
from fusefs.names.tree import Node, Tree
from fusefs.objects import Headers, ObjectInfo
from fusefs.resend import is_resent
from fusefs.s3.conditions import IF_ABSENT
from fusefs.write.filecontent import FileContent
from fusefs.write.unsent import DirtySet

log = logging.getLogger(__name__)


class Namespace:
    """Directory operations of one mount."""

    def __init__(
        self,
        tree: Tree,
        lookup: Lookup,
        renames: Renames,
        cache: Cache,
        dirty: DirtySet,
        read_only: bool,
    ) -> None:
        self.tree = tree
        self.lookup = lookup
        self.renames = renames
        self._store = lookup.store
        self._cache = cache
        self._dirty = dirty
        self._read_only = read_only
        self.closing = False

    def writable(self, parent: Node, name: str, *, new: bool = True) -> str:
        """Check that `name` may be changed in `parent`, or made; return the key of such a file."""
        if self._read_only:
            raise ReadOnly("the mount is read-only")
        if self.closing:
            raise ReadOnly("the mount is being shut down; no name can be changed any more")
        if parent.gone:
            raise NotFound("the directory was removed")
        if not parent.directory:
            raise NotADirectory(f"{self.tree.key(parent)} is not a directory")
        key = self.tree.child_key(parent, name)
        if not key.isascii() or len(key) > keys.MAX_NAME:  # else there is nothing wrong with it
            (keys.check if new else keys.check_key)(name, key)
        return key

    def _absent(self, parent: Node, name: str) -> None:
        try:
            self.lookup.find(parent, name, to_make=True)
        except NotFound:
            return
        raise Exists(f"{self.tree.child_key(parent, name)} exists already")

    def new_posix(self, mode: int, caller: Caller) -> Posix:
        """Return the attributes of something `caller` makes now."""
        now = self.tree.journal.begun()
        return Posix(mode, caller.uid, caller.gid, now, now, now)

    def made_before(self, parent: Node, name: str) -> Node | None:
        """Return what an earlier try of the running call made; None where it made nothing.

        It is known by the time it was to get; where a store keeps none, by being there.
        """
        began = self.tree.journal.begun_before()
        node = self.lookup.there(parent, name) if began is not None else None
        if node is None:
            return None
        body, info = node.body, node.info
        posix = body.posix if body is not None and body.dirty else node.posix
        has_atime = posix is not None and (
            node.local or (info is not None and "atime" in (info.headers or Headers()).metadata)
        )
        return node if not has_atime or posix is None or posix.atime_ns == began else None

    def new_node(self, parent: Node, name: str, directory: bool) -> Node:
        """Take a place in the tree for something new."""
        with self.tree.lock:
            old = parent.children.get(name)
            if old is not None:
                self.tree.detach(old)
            return self.tree.place(parent, name, directory)

    # -- making ----------------------------------------------------------------------------------

    def mkdir(self, parent: Node, name: str, mode: int, caller: Caller) -> Node:
        """Make a directory: one PUT of its marker."""
        key = self.writable(parent, name) + "/"
        if (made := self.made_before(parent, name)) is not None and made.directory:
            return made
        self._absent(parent, name)
        posix = self.new_posix(stat.S_IFDIR | stat.S_IMODE(mode), caller)
        info = self._put(key, b"", posix, attributes.DIRECTORY_TYPE)
        node = self.new_node(parent, name, directory=True)
        self._take_over(node, info, posix)
        # It is new and empty: nobody needs a LIST to know that.
        node.listing = Listing.empty(self._store, key, self.tree.pages)
        return node

    def symlink(self, parent: Node, name: str, target: str, caller: Caller) -> Node:
        """Make a symbolic link: an object with the target as content."""
        key = self.writable(parent, name)
        self._attributes_needed("symbolic links")
        if (made := self.made_before(parent, name)) is not None:
            return made
        self._absent(parent, name)
        posix = self.new_posix(stat.S_IFLNK | 0o777, caller)
        return self._special(parent, name, key, os.fsencode(target), posix)

    def mknod(self, parent: Node, name: str, mode: int, caller: Caller) -> Node:
        """Make an empty file, fifo or socket as s3fs stores them; devices are refused."""
        key = self.writable(parent, name)
        if stat.S_IFMT(mode) in (stat.S_IFCHR, stat.S_IFBLK):
            raise NotPermitted("device files can't be made in a bucket")
        if not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            self._attributes_needed("fifos and sockets")
        if (made := self.made_before(parent, name)) is not None:
            return made
        self._absent(parent, name)
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        posix = self.new_posix(kind | stat.S_IMODE(mode), caller)
        return self._special(parent, name, key, b"", posix)

    def _attributes_needed(self, what: str) -> None:
        if not self.lookup.stored:
            raise Unsupported(f"{what} need stored attributes; the mount has --metadata none")

    def _special(self, parent: Node, name: str, key: str, body: bytes, posix: Posix) -> Node:
        info = self._put(key, body, posix, "application/octet-stream")
        node = self.new_node(parent, name, directory=False)
        self._take_over(node, info, posix)
        return node

    def _put(self, key: str, body: bytes, posix: Posix, kind: str) -> ObjectInfo:
        headers = Headers(system={"ContentType": kind})
        if self.lookup.stored:
            headers = attributes.write(posix, headers)
        began = self._store.server_time()
        try:
            etag = self._store.put(key, body, headers, IF_ABSENT)
        except Stale as error:
            info = self._made_before(key, len(body), headers, began if error.retried else None)
        else:
            info = ObjectInfo(key, len(body), etag, self._store.server_time(), headers)
        if is_resent():
            self._store.late.expect(key, len(body), headers.metadata)
        self.lookup.remember(info)
        return info

    def _made_before(
        self, key: str, size: int, headers: Headers, retried: float | None
    ) -> ObjectInfo:
        """Return what an earlier try made whose answer was lost; raises Exists for another's.

        The times in nanoseconds distinguish them. Where none are stored (some stores keep no
        metadata of markers) it is ours if it came into being since `retried`, when we began.
        """
        try:
            found = self._store.head(key)
        except NotFound as error:
            raise Exists(f"{key} was made and removed by somebody else meanwhile") from error
        stored = found.headers.metadata if found.headers is not None else {}
        if stored:
            ours = stored == headers.metadata
        else:
            ours = retried is not None and found.modified >= int(retried)
        if not ours or found.size != size:
            raise Exists(f"{key} was made by somebody else meanwhile")
        return replace(found, headers=headers)

    def _take_over(self, node: Node, info: ObjectInfo, posix: Posix) -> None:
        with self.tree.lock:
            node.info = info
            node.posix = posix
            node.checked = time.monotonic()
            self.tree.made(node)
            if node.parent is not None:
                self.tree.changed(node.parent)

    # -- removing --------------------------------------------------------------------------------

    def unlink(self, parent: Node, name: str) -> None:
        """Remove a file: one DELETE. Handles on it go on with their content."""
        self.writable(parent, name, new=False)
        node = self._to_remove(parent, name)
        if node is None:
            return
        if node.directory:
            raise IsADirectory(f"{self.tree.key(node)} is a directory")
        key = self.tree.key(node)
        self._dirty.commit_copies(key)
        with node.lock:
            body = node.body
            if body is not None:
                with body.commit_lock:
                    self._unlink_open(body, key)
            else:
                self._store.remove(key, node.info.etag if node.info is not None else None)
            self._removed(parent, node, key)

    def _to_remove(self, parent: Node, name: str) -> Node | None:
        """Find what is to be removed; None where an earlier try of this call removed it."""
        try:
            return self.lookup.glance(parent, name)
        except NotFound:
            if not is_resent():
                raise
            with self.tree.lock:
                left = parent.children.get(name)
                if left is not None:
                    self.tree.detach(left)
            return None

    def _unlink_open(self, body: FileContent, key: str) -> None:
        with body.kept():
            if body.may_be_stored():
                self._store.remove(key, body.etag)

    def _removed(self, parent: Node, node: Node, key: str) -> None:
        self.lookup.forget(key)
        self._cache.drop(key)
        with self.tree.lock:
            self.tree.unlisted(parent, node.name)
            self.tree.detach(node)
            self.tree.changed(parent)

    def rmdir(self, parent: Node, name: str) -> None:
        """Remove an empty directory: one LIST to know, one DELETE of its marker."""
        self.writable(parent, name, new=False)
        node = self._to_remove(parent, name)
        if node is None:
            return
        if not node.directory:
            raise NotADirectory(f"{self.tree.key(node)} is not a directory")
        key = self.tree.key(node)
        with self.tree.lock:
            if any(child.local for child in node.children.values()):
                raise NotEmpty(f"{key} is not empty")
        if has_content(self._store, key):
            raise NotEmpty(f"{key} is not empty")
        self._store.remove(key, None)
        for other in self.lookup.markers.others(node):
            self._store.delete(other)
        self._removed(parent, node, key)

    # -- renaming --------------------------------------------------------------------------------

    def rename(self, parent: Node, name: str, new_parent: Node, new_name: str, flags: int) -> None:
        """Rename as rename(2): files by one copy and one delete, directories key by key."""
        self.writable(parent, name, new=False)
        self.writable(new_parent, new_name)
        self.renames.rename(parent, name, new_parent, new_name, flags)
