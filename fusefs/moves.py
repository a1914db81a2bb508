"""Renaming files and directories, with the nodes and open files that follow.

A rename reaches S3 before it is shown in the tree, so a failure leaves both as they were. How the
keys are moved is `renaming`. Any thread; `_directories` lets one directory be renamed at a time and
is taken before any node's lock; no tree lock is held over a request.
"""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace

from . import names
from .attributes import DIRECTORY_TYPE, write
from .depot import Depot, held
from .errors import (
    Exists,
    Invalid,
    IsADirectory,
    NotADirectory,
    NotEmpty,
    NotFound,
    Stale,
)
from .lookup import Lookup
from .objects import Headers, ObjectInfo
from .renamelog import Copied, RenameLog
from .renaming import Mover
from .resent import is_resent
from .rewrites import Rewrites
from .store import ABSENT
from .tree import Node, Tree

log = logging.getLogger(__name__)

NOREPLACE = 1  # RENAME_NOREPLACE of renameat2(2)


class Moves:
    """The renames of one mount."""

    def __init__(
        self, tree: Tree, lookup: Lookup, rewrites: Rewrites, depot: Depot, pool: Executor
    ) -> None:
        self.tree = tree
        self.lookup = lookup
        self.rewrites = rewrites
        self.depot = depot
        self._mover = Mover(depot.store, depot.committer, pool)
        self._directories = threading.Lock()

    def rename(self, parent: Node, name: str, new_parent: Node, new_name: str, flags: int) -> None:
        """Rename as rename(2): files by one copy and one delete, directories key by key."""
        if flags & ~NOREPLACE:
            raise Invalid("exchanging two names can't be done in S3")
        if is_resent() and self._renamed_before(parent, name, new_parent, new_name):
            return
        node = self.lookup.find(parent, name)
        if parent is new_parent and name == new_name:
            return
        target = self.lookup.there(new_parent, new_name)
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
        if (
            self.lookup.there(parent, name) is not None
            or self.lookup.there(new_parent, new_name) is None
        ):
            return False
        if left is not None:
            with self.tree.lock:
                self.tree.move(left, new_parent, new_name)
                left.gone = False
        return True

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
        if before is None or (before.headers is None and self.depot.stores_attributes):
            before = self.depot.store.head(self.tree.key(node))
        self.depot.cache.drop(key)
        with node.body.moving() if node.body is not None else nullcontext():
            before, after = self._moved(before, key, condition)
            self.rewrites.renamed(node, before, after)
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
            self._move_markers(node, new)
            for child in self.tree.walk(node):
                self._follow(child, moved, moved_from, old, new)

    def _move_markers(self, node: Node, new: str) -> None:
        """Give a renamed directory a marker of our form for those of other tools' forms."""
        others = self.lookup.other_markers(node)
        if not others:
            return
        headers = Headers(system={"ContentType": DIRECTORY_TYPE})
        if node.posix is not None and self.depot.stores_attributes:
            headers = write(node.posix, headers)
        with suppress(Stale):  # its own marker was moved with the rest
            self.depot.store.put(new, b"", headers, ABSENT)
        for other in others:
            self.depot.store.delete(other)

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
            self.rewrites.renamed(node, before, after)
        elif before.key.startswith(old) and not node.gone:
            self._straggler(node, before, new + before.key[len(old) :])

    def _straggler(self, node: Node, before: ObjectInfo, key: str) -> None:
        """Move a file of ours that was committed after its directory had been listed."""
        try:
            with node.lock, held(node.body):
                self.rewrites.renamed(node, before, self._mover.move(before, key, None))
        except (Stale, NotFound) as error:
            log.debug("gone meanwhile", extra={"key": before.key, "error": str(error)})
            node.info = None
