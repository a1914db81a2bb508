"""Renaming files and directories, with the nodes and open files that follow.

A rename reaches S3 before it is shown in the tree, so a failure leaves both as they were. How the
keys are moved is `objectmoves`.

Any thread; `_directories` lets one directory be renamed at a time; no tree lock is held over a
request. Of the files open below it the `commit_lock`s are held until their objects have moved, and
then given up: who waits for one may hold a node's lock, which comes before.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from fusefs import keys, locks
from fusefs.attributes import DIRECTORY_TYPE, seconds, write
from fusefs.cache.cache import Cache
from fusefs.errors import Exists, Invalid, IsADirectory, NotADirectory, NotEmpty, NotFound, Stale
from fusefs.locks import Rank
from fusefs.names.emptiness import has_content
from fusefs.names.lookup import Lookup
from fusefs.names.objectmoves import ObjectMover, forget_renames, resume_renames
from fusefs.names.renamednodes import RenamedNodes, object_of
from fusefs.names.renamejournal import RenameJournal
from fusefs.names.selfcopy import SelfCopies
from fusefs.names.tree import Node, Tree
from fusefs.objects import Headers, ObjectInfo
from fusefs.resend import is_resent
from fusefs.s3.conditions import IF_ABSENT
from fusefs.write.filecontent import FileContent
from fusefs.write.unsent import DirtySet

log = logging.getLogger(__name__)

NOREPLACE = 1  # RENAME_NOREPLACE of renameat2(2)


class Renames:
    """The renames of one mount; `journals` is the directory of their journals."""

    def __init__(
        self,
        tree: Tree,
        lookup: Lookup,
        copies: SelfCopies,
        mover: ObjectMover,
        cache: Cache,
        dirty: DirtySet,
        journals: Path,
    ) -> None:
        self.tree = tree
        self.lookup = lookup
        self.copies = copies
        self._store = lookup.store
        self._mover = mover
        self._cache = cache
        self._dirty = dirty
        self._journals = journals
        self._directories = locks.lock(Rank.DIRECTORIES)

    def rename(self, parent: Node, name: str, new_parent: Node, new_name: str, flags: int) -> None:
        """Rename as rename(2): files by one copy and one delete, directories key by key."""
        if flags & ~NOREPLACE:
            raise Invalid("exchanging two names can't be done in S3")
        if is_resent() and self._renamed_before(parent, name, new_parent, new_name):
            return
        node = self.lookup.find(parent, name)
        if parent is new_parent and name == new_name:
            return
        target = self.lookup.there(new_parent, new_name, to_make=True)
        if target is node:
            return
        if flags & NOREPLACE and target is not None:
            if not self._copied_before(node, target):
                raise Exists(f"{self.tree.child_key(new_parent, new_name)} exists already")
            flags = 0
        self._compatible(node, target)
        for going in (node, target):
            if going is not None:
                self._dirty.commit_copies(self.tree.key(going))
        if node.directory:
            self._not_inside(node, new_parent)
            self._rename_directory(node, new_parent, new_name, replaces=target is not None)
        else:
            self._rename_file(node, new_parent, new_name, target, flags)
            self._move(node, parent, name, new_parent, new_name)

    def _move(
        self, node: Node, parent: Node | None, name: str, new_parent: Node, new_name: str
    ) -> None:
        with self.tree.lock:
            if parent is not None:
                self.tree.unlisted(parent, name)
                self.tree.changed(parent)
            self.tree.changed(new_parent)
            self.tree.move(node, new_parent, new_name)
            node.gone = False
            self.tree.made(node)

    def _renamed_before(self, parent: Node, name: str, new_parent: Node, new_name: str) -> bool:
        """Finish what an earlier try of a rename began; False where it had not come that far.

        The tree is as the session's journal has it.
        """
        node = parent.children.get(name)
        if node is None:
            return new_name in new_parent.children  # noted there last, so all was done
        if node.directory and self._rename_directory(node, new_parent, new_name, resumed=True):
            return True
        found = self.lookup.there(new_parent, new_name)
        if found is None or self.lookup.there(parent, name) is not None:
            return False
        before = node.body.info if node.body is not None else None
        with self._replaced(found):
            self._move(node, parent, name, new_parent, new_name)
        if before is not None and found.info is not None and before.size == found.info.size:
            self.copies.renamed(node, before, found.info)
        return True

    def _copied_before(self, node: Node, target: Node) -> bool:
        """Say whether the target is the copy that an earlier try of this rename made."""
        return (
            is_resent()
            and node.info is not None
            and target.info is not None
            and self._mover.same(target.info, node.info)
        )

    def restore(self) -> None:
        """Forget the renames that were complete but for the end of their journals.

        The tree is as the session's journal has it, in which a rename is noted when all is done.
        """
        known = self.tree.known
        forget_renames(
            self._journals, lambda old, new: known(old) is None and known(new) is not None
        )

    def finish_left(self) -> None:
        """Finish the directory renames of former processes; nobody waits for them."""
        with self._directories:
            resume_renames(self._mover, self._dirty, self._journals)

    def _compatible(self, node: Node, target: Node | None) -> None:
        if target is None:
            return
        if node.directory and not target.directory:
            raise NotADirectory(f"{self.tree.key(target)} is not a directory")
        if target.directory and not node.directory:
            raise IsADirectory(f"{self.tree.key(target)} is a directory")
        if target.directory:
            key = self.tree.key(target)
            full = has_content(self._store, key)
            with self.tree.lock:
                local = any(child.local for child in target.children.values())
            if local or full:
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
        with _locked(node, target):
            if node.body is not None and node.body.dirty:
                node.body.commit()
            with self._replaced(target):
                self._move_object(node, key, IF_ABSENT if flags & NOREPLACE else None)

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
        if before is None or (before.headers is None and self.lookup.stored):
            before = self._store.head(self.tree.key(node))
        self._cache.drop(key)
        now = time.time_ns()
        with node.body.moving() if node.body is not None else nullcontext():
            before, after = self._moved(before, key, condition, now)
            self.copies.renamed(node, before, after)
        self.lookup.forget(before.key)
        _changed_at(node, now)
        node.checked = time.monotonic()

    def _moved(
        self, before: ObjectInfo, key: str, condition: str | None, now: int
    ) -> tuple[ObjectInfo, ObjectInfo]:
        """Move an object as it is now, even where we know an older version; return both."""
        try:
            return before, self._mover.move(before, key, condition, _at(before, now))
        except (Stale, NotFound):
            found = self._store.head(before.key)
            if condition is not None and found.etag == before.etag:  # so it was that one
                raise Exists(f"{key} exists already") from None
            return found, self._mover.move(found, key, condition, _at(found, now))

    def _rename_directory(
        self,
        node: Node,
        parent: Node,
        name: str,
        *,
        replaces: bool = False,
        resumed: bool = False,
    ) -> bool:
        """Rename a directory; with `resumed` only one whose journal a former process left."""
        old = self.tree.key(node)
        new = self.tree.child_key(parent, name) + "/"
        keys.check(name, new)
        with self._directories, ExitStack() as stack:
            journal = RenameJournal.find(self._journals, old, new) if resumed else None
            if journal is not None and journal.undoing:
                self._mover.take_back(journal)
                return False
            if resumed and journal is None:
                return False
            held = self._open_below(node)
            holding = {child.id: body.commit_lock for child, body in held}
            stack.enter_context(locks.together(Rank.COMMIT, holding))
            for _, body in held:
                if body.dirty:
                    body.commit()
            moved = RenamedNodes(old, new, self.tree.walk(node))

            def settle() -> None:
                self._move_markers(node, new)
                for child, body in held:
                    if child.body is body:
                        self._follow(child, moved)
                stack.close()  # they know their new keys; the rest is one file at a time
                self._follow_all(node, moved, lambda _: True)
                self._move(node, node.parent, node.name, parent, name)
                _changed_at(node, time.time_ns())
                self._follow_all(node, moved, moved.left_behind)

            journal = journal or RenameJournal.begin(self._journals, old, new)
            self._mover.move_all(journal, moved.note, settle, replaces=replaces, resumed=resumed)
        return True

    def _follow_all(self, node: Node, moved: RenamedNodes, wanted: Callable[[Node], bool]) -> None:
        for child in self.tree.walk(node):
            if wanted(child):
                with _locked(child):
                    left = self._follow(child, moved)
                    if left is not None:
                        self._straggler(child, left, moved.key(left.key))

    def _move_markers(self, node: Node, new: str) -> None:
        """Give a renamed directory a marker of our form for those of other tools' forms."""
        others = self.lookup.markers.others(node)
        if not others:
            return
        headers = Headers(system={"ContentType": DIRECTORY_TYPE})
        if node.posix is not None and self.lookup.stored:
            headers = write(node.posix, headers)
        with suppress(Stale):  # its own marker was moved with the rest
            self._store.put(new, b"", headers, IF_ABSENT)
        for other in others:
            self._store.delete(other)

    def _open_below(self, node: Node) -> list[tuple[Node, FileContent]]:
        """Return the open files below a directory."""
        return [(child, child.body) for child in self.tree.walk(node) if child.body is not None]

    def _follow(self, node: Node, moved: RenamedNodes) -> ObjectInfo | None:
        """Tell a node below a renamed directory its object's new identity.

        Returns an object that still has to be moved: one of ours that the rename didn't list, or
        what others put in the place of the one it did.
        """
        with self.tree.lock:
            node.listing = None
            self.tree.missing.drop(node.id)
        before, body = object_of(node), node.body
        if body is not None and body.info is None and body.key.startswith(moved.old):
            body.rekey(moved.key(body.key))  # created meanwhile
        if before is None:
            return None
        self.lookup.forget(before.key)
        if node.directory:
            node.info = moved.after(before.key)
            if node.info is not None:
                self.lookup.remember(node.info)
            return None
        after = moved.after(before.key, before.etag)
        if after is not None:
            self.copies.renamed(node, before, after)
            return None
        return before if before.key.startswith(moved.old) and not node.gone else None

    def _straggler(self, node: Node, before: ObjectInfo, key: str) -> None:
        """Move a file that was committed or replaced after its directory had been listed."""
        after: ObjectInfo | None
        try:
            after = self._mover.move(before, key, None)
        except (Stale, NotFound) as error:
            log.debug("gone meanwhile", extra={"key": before.key, "error": str(error)})
            after = self._moved_unseen(before, key) if node.body is not None else None
        if after is not None:
            self.copies.renamed(node, before, after)
        else:
            node.info = None

    def _moved_unseen(self, before: ObjectInfo, key: str) -> ObjectInfo | None:
        """Return the copy of an object that was opened while it was being moved."""
        try:
            found = self._store.head(key)
        except NotFound:
            return None
        return found if (found.etag, found.size) == (before.etag, before.size) else None


def _at(info: ObjectInfo, now: int) -> Headers | None:
    """Return headers with the time of the rename; None where its copy had better keep all.

    An object without attributes stays without, and tags would have to be asked for.
    """
    headers = info.headers
    if headers is None or "ctime" not in headers.metadata or "TagCount" in headers.system:
        return None
    return replace(headers, metadata={**headers.metadata, "ctime": seconds(now)})


def _changed_at(node: Node, now: int) -> None:
    if node.posix is not None:
        node.posix = replace(node.posix, ctime_ns=now)
    if node.body is not None:
        node.body.posix = replace(node.body.posix, ctime_ns=now)


@contextmanager
def _locked(*nodes: Node | None) -> Iterator[None]:
    """Hold the locks of nodes, then those of their bodies."""
    there = [node for node in nodes if node is not None]
    with locks.together(Rank.NODE, {node.id: node.lock for node in there}):
        bodies = {node.id: node.body.commit_lock for node in there if node.body is not None}
        with locks.together(Rank.COMMIT, bodies):
            yield
