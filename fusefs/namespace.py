"""Changing names: make, remove, link symbolically, rename.

Each change reaches S3 before it is shown in the tree, so a failure leaves both as they were. Any
thread; no tree lock is held over a request.
"""

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

from . import attributes, names
from .attributes import Posix
from .body import Body
from .depot import Depot, held
from .errors import (
    Exists,
    Invalid,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    NotPermitted,
    ReadOnly,
    Stale,
    Unsupported,
)
from .files import Files
from .interface import Caller
from .listing import Listing
from .lookup import Lookup
from .objects import Headers, ObjectInfo
from .renamelog import Copied, RenameLog
from .renaming import Mover
from .resent import is_resent
from .store import ABSENT
from .tree import Node, Tree

log = logging.getLogger(__name__)

NOREPLACE, EXCHANGE = 1, 2


class Namespace:
    """Directory operations of one mount."""

    def __init__(
        self,
        tree: Tree,
        lookup: Lookup,
        files: Files,
        depot: Depot,
        pool: Executor,
        stores_attributes: bool,
        read_only: bool,
    ) -> None:
        self.tree = tree
        self.lookup = lookup
        self.files = files
        self.depot = depot
        self._pool = pool
        self._mover = Mover(depot.store, depot.committer, pool)
        self._directories = threading.Lock()  # one directory is renamed at a time
        self._stores = stores_attributes
        self._read_only = read_only

    def writable(self, parent: Node, name: str) -> str:
        """Check that `name` may be changed in `parent`; return the key of a file of that name."""
        if self._read_only:
            raise ReadOnly("the mount is read-only")
        if parent.gone:
            raise NotFound("the directory was removed")
        if not parent.directory:
            raise NotADirectory(f"{self.tree.key(parent)} is not a directory")
        key = self.tree.child_key(parent, name)
        names.check(name, key)
        return key

    def _absent(self, parent: Node, name: str) -> None:
        try:
            self.lookup.find(parent, name)
        except NotFound:
            return
        raise Exists(f"{self.tree.child_key(parent, name)} exists already")

    def new_posix(self, mode: int, caller: Caller) -> Posix:
        """Return the attributes of something `caller` makes now."""
        now = time.time_ns()
        return Posix(mode, caller.uid, caller.gid, now, now, now)

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
        if is_resent() and (made := self._target(parent, name)) is not None and made.directory:
            return made
        self._absent(parent, name)
        posix = self.new_posix(stat.S_IFDIR | stat.S_IMODE(mode), caller)
        info = self._put(key, b"", posix, attributes.DIRECTORY_TYPE)
        node = self.new_node(parent, name, directory=True)
        self._take_over(node, info, posix)
        # It is new and empty: nobody needs a LIST to know that.
        node.listing = Listing.empty(self.depot.store, key)
        return node

    def symlink(self, parent: Node, name: str, target: str, caller: Caller) -> Node:
        """Make a symbolic link: an object with the target as content."""
        key = self.writable(parent, name)
        self._attributes_needed("symbolic links")
        if is_resent() and (made := self._target(parent, name)) is not None:
            return self._same_link(made, target)
        self._absent(parent, name)
        posix = self.new_posix(stat.S_IFLNK | 0o777, caller)
        return self._special(parent, name, key, os.fsencode(target), posix)

    def _same_link(self, node: Node, target: str) -> Node:
        """Return the link that an earlier try made; anything else was there before."""
        answer = self.depot.store.get_start(self.tree.key(node), len(os.fsencode(target)) + 1)
        if node.posix is None or not stat.S_ISLNK(node.posix.mode) or answer is None:
            raise Exists(f"{self.tree.key(node)} exists already")
        if answer[1] != os.fsencode(target):
            raise Exists(f"{self.tree.key(node)} exists already, with another target")
        return node

    def mknod(self, parent: Node, name: str, mode: int, caller: Caller) -> Node:
        """Make an empty file, fifo or socket as s3fs stores them; devices are refused."""
        key = self.writable(parent, name)
        if stat.S_IFMT(mode) in (stat.S_IFCHR, stat.S_IFBLK):
            raise NotPermitted("device files can't be made in a bucket")
        if not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            self._attributes_needed("fifos and sockets")
        self._absent(parent, name)
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        posix = self.new_posix(kind | stat.S_IMODE(mode), caller)
        return self._special(parent, name, key, b"", posix)

    def _attributes_needed(self, what: str) -> None:
        if not self._stores:
            raise Unsupported(f"{what} need stored attributes; the mount has --metadata none")

    def _special(self, parent: Node, name: str, key: str, body: bytes, posix: Posix) -> Node:
        info = self._put(key, body, posix, "application/octet-stream")
        node = self.new_node(parent, name, directory=False)
        self._take_over(node, info, posix)
        return node

    def _put(self, key: str, body: bytes, posix: Posix, kind: str) -> ObjectInfo:
        headers = Headers(system={"ContentType": kind})
        if self._stores:
            headers = attributes.write(posix, headers)
        etag = self.depot.store.put(key, body, headers, ABSENT)
        info = ObjectInfo(key, len(body), etag, self.depot.store.server_time(), headers)
        self.lookup.remember(info)
        return info

    def _take_over(self, node: Node, info: ObjectInfo, posix: Posix) -> None:
        with self.tree.lock:
            node.info = info
            node.posix = posix
            node.checked = time.monotonic()
            self.tree.made(node)

    # -- removing --------------------------------------------------------------------------------

    def unlink(self, parent: Node, name: str) -> None:
        """Remove a file: one DELETE. Handles on it go on with their content."""
        self.writable(parent, name)
        node = self._to_remove(parent, name)
        if node is None:
            return
        if node.directory:
            raise IsADirectory(f"{self.tree.key(node)} is a directory")
        key = self.tree.key(node)
        self.depot.repay(key)
        with node.lock:
            body = node.body
            if body is not None:
                with body.commit_lock:
                    self._unlink_open(body, key)
            else:
                self.depot.store.delete(key)
            self._removed(parent, node, key)

    def _to_remove(self, parent: Node, name: str) -> Node | None:
        """Find what is to be removed; None where an earlier try of this call removed it."""
        try:
            return self.lookup.find(parent, name)
        except NotFound:
            if not is_resent():
                raise
            with self.tree.lock:
                left = parent.children.get(name)
                if left is not None:
                    self.tree.detach(left)
            return None

    def _unlink_open(self, body: Body, key: str) -> None:
        with body.kept():
            if body.info is not None:
                self.depot.store.delete(key)

    def _removed(self, parent: Node, node: Node, key: str) -> None:
        self.lookup.forget(key)
        self.depot.cache.drop(key)
        with self.tree.lock:
            self.tree.unlisted(parent, node.name)
            self.tree.detach(node)

    def rmdir(self, parent: Node, name: str) -> None:
        """Remove an empty directory: one LIST to know, one DELETE of its marker."""
        self.writable(parent, name)
        node = self._to_remove(parent, name)
        if node is None:
            return
        if not node.directory:
            raise NotADirectory(f"{self.tree.key(node)} is not a directory")
        key = self.tree.key(node)
        with self.tree.lock:
            if any(child.local for child in node.children.values()):
                raise NotEmpty(f"{key} is not empty")
        page = self.depot.store.list_page(key, "", None, 2)
        if any(found.key != key for found in page.objects):
            raise NotEmpty(f"{key} is not empty")
        self.depot.store.delete(key)
        if node.info is not None and node.info.key != key:  # a marker of another tool's form
            self.depot.store.delete(node.info.key)
        self._removed(parent, node, key)

    # -- renaming --------------------------------------------------------------------------------

    def rename(self, parent: Node, name: str, new_parent: Node, new_name: str, flags: int) -> None:
        """Rename as rename(2): files by one copy and one delete, directories key by key."""
        self.writable(parent, name)
        self.writable(new_parent, new_name)
        if flags & ~NOREPLACE:
            raise Invalid("exchanging two names can't be done in S3")
        if is_resent() and self._renamed_before(parent, name, new_parent, new_name):
            return
        node = self.lookup.find(parent, name)
        if parent is new_parent and name == new_name:
            return
        target = self._target(new_parent, new_name)
        if target is node:
            return
        if flags & NOREPLACE and target is not None:
            raise Exists(f"{self.tree.child_key(new_parent, new_name)} exists already")
        self._compatible(node, target)
        for going in (node, target):
            if going is not None:
                self.depot.repay(self.tree.key(going))
        if node.directory:
            self._not_inside(node, new_parent)
            self._rename_directory(node, new_parent, new_name, target)
        else:
            self._rename_file(node, new_parent, new_name, target, flags)
        with self.tree.lock:
            self.tree.unlisted(parent, name)
            self.tree.move(node, new_parent, new_name)
            self.tree.made(node)

    def _renamed_before(self, parent: Node, name: str, new_parent: Node, new_name: str) -> bool:
        """Say whether an earlier try of a rename was done; then take over its outcome."""
        left = parent.children.get(name)
        if self._target(parent, name) is not None or self._target(new_parent, new_name) is None:
            return False
        if left is not None:
            with self.tree.lock:
                self.tree.move(left, new_parent, new_name)
                left.gone = False
        return True

    def _target(self, parent: Node, name: str) -> Node | None:
        try:
            return self.lookup.find(parent, name)
        except NotFound:
            return None

    def _compatible(self, node: Node, target: Node | None) -> None:
        if target is None:
            return
        if node.directory and not target.directory:
            raise NotADirectory(f"{self.tree.key(target)} is not a directory")
        if target.directory and not node.directory:
            raise IsADirectory(f"{self.tree.key(target)} is a directory")
        if target.directory:
            key = self.tree.key(target)
            page = self.depot.store.list_page(key, "", None, 2)
            with self.tree.lock:
                local = any(child.local for child in target.children.values())
            if local or any(found.key != key for found in page.objects):
                raise NotEmpty(f"{key} is not empty")

    def _not_inside(self, node: Node, parent: Node) -> None:
        at: Node | None = parent
        while at is not None:
            if at is node:
                raise Invalid("a directory can't be moved into itself")
            at = at.parent

    def _rename_file(
        self, node: Node, parent: Node, name: str, target: Node | None, flags: int
    ) -> None:
        key = self.tree.child_key(parent, name)
        with node.lock, held(node.body):
            if node.body is not None and node.body.dirty:
                node.body.commit()
            with self._replaced(target):
                self._move_object(node, key, ABSENT if flags & NOREPLACE else None)

    @contextmanager
    def _replaced(self, target: Node | None) -> Iterator[None]:
        """Around a rename onto `target`: who has it open keeps its content."""
        if target is None:
            yield
            return
        with target.lock:
            if target.body is None:
                yield
            else:
                with target.body.kept():
                    yield

    def _move_object(self, node: Node, key: str, condition: str | None) -> None:
        before = node.info
        if before is None or (before.headers is None and self._stores):
            before = self.depot.store.head(self.tree.key(node))
        self.depot.cache.drop(key)
        with node.body.moving() if node.body is not None else nullcontext():
            before, after = self._moved(before, key, condition)
            self.files.renamed(node, before, after)
        self.lookup.forget(before.key)
        node.checked = time.monotonic()

    def _moved(
        self, before: ObjectInfo, key: str, condition: str | None
    ) -> tuple[ObjectInfo, ObjectInfo]:
        """Move an object as it is now, even where we know an older version; return both."""
        try:
            return before, self._mover.move(before, key, condition)
        except (Stale, NotFound):
            now = self.depot.store.head(before.key)
            if now.etag == before.etag:  # so it was the condition on the new key
                raise Exists(f"{key} exists already") from None
            return now, self._mover.move(now, key, condition)

    def _rename_directory(self, node: Node, parent: Node, name: str, target: Node | None) -> None:
        old = self.tree.key(node)
        new = self.tree.child_key(parent, name) + "/"
        names.check(name, new)
        with self._directories, ExitStack() as stack:
            for child in self._open_below(node):
                body = child.body
                stack.enter_context(held(body))
                if body is not None and body.dirty:
                    body.commit()
            known = {child.info.key: child for child in self.tree.walk(node) if child.info}
            moved: dict[str, ObjectInfo] = {}

            def told(entry: Copied) -> None:
                child = known.get(old + entry.suffix)
                if child is not None and child.info is not None:
                    moved[child.info.key] = replace(
                        child.info,
                        key=new + entry.suffix,
                        etag=entry.new_etag,
                        modified=entry.modified,
                    )
                    moved_from[child.info.key] = entry.etag

            moved_from: dict[str, str] = {}
            journal = RenameLog.begin(self.depot.renames, old, new)
            self._mover.move_all(journal, told, replaces=target is not None)
            for child in self.tree.walk(node):
                self._follow(child, moved, moved_from, old, new)

    def _open_below(self, node: Node) -> list[Node]:
        """Return the open files below a directory in the one order of taking their locks."""
        found = [child for child in self.tree.walk(node) if child.body is not None]
        return sorted(found, key=lambda child: child.id)

    def _follow(
        self, node: Node, moved: dict[str, ObjectInfo], etags: dict[str, str], old: str, new: str
    ) -> None:
        """Tell a node below a renamed directory its object's new identity."""
        with self.tree.lock:
            node.listing = None
            node.negatives.clear()
        before, body = node.info, node.body
        if body is not None and body.info is None and body.key.startswith(old):
            body.rekey(new + body.key[len(old) :])  # created meanwhile
        if before is None:
            return
        self.lookup.forget(before.key)
        after = moved.get(before.key)
        if node.directory:
            node.info = after
            if after is not None:
                self.lookup.remember(after)
        elif after is not None and etags[before.key] == before.etag:
            self.files.renamed(node, before, after)
        elif before.key.startswith(old) and not node.gone:
            self._straggler(node, before, new + before.key[len(old) :])

    def _straggler(self, node: Node, before: ObjectInfo, key: str) -> None:
        """Move a file of ours that was committed after its directory had been listed."""
        try:
            with node.lock, held(node.body):
                self.files.renamed(node, before, self._mover.move(before, key, None))
        except (Stale, NotFound) as error:
            log.debug("gone meanwhile", extra={"key": before.key, "error": str(error)})
            node.info = None
