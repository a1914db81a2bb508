"""Open directories: streams of entries, with what is known of each without a request.

Any thread; `_lock` guards the handles and is a leaf.
"""

import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain

from fusefs import locks
from fusefs.errors import BadHandle, Stale
from fusefs.interface import DirEntry, Opened
from fusefs.keys import FOLDER_SUFFIX
from fusefs.locks import Rank
from fusefs.names.listing import Entry, Listing
from fusefs.names.lookup import Lookup
from fusefs.names.markers import is_old_form
from fusefs.names.tree import Node, Tree
from fusefs.posix.dirstream import DOTS, DirStream, dots
from fusefs.posix.openfiles import OpenFiles
from fusefs.resend import is_resent
from fusefs.session.sessionlog import Answer, SessionState


@dataclass(frozen=True, eq=False)
class _Open:
    node: Node
    stream: DirStream


class OpenDirectories:
    """The directory streams of one mount; `files` numbers the handles."""

    def __init__(self, tree: Tree, lookup: Lookup, files: OpenFiles) -> None:
        self._tree = tree
        self._lookup = lookup
        self._files = files
        self._open: dict[int, _Open] = {}
        self._lock = locks.lock(Rank.LEAF)

    def open(self, node: Node) -> Opened:
        """Open a stream."""
        before = self._files.opened_before(self._open.__contains__)
        if before is not None:
            return before
        number = self._files.number()
        self._start(number, node)
        self._tree.journal.opened_directory(number, node.id)
        return Opened(number)

    def _start(self, number: int, node: Node, answers: Sequence[Answer] = ()) -> None:
        stream = DirStream(partial(self._listing, node), dict(chain.from_iterable(answers)))
        with self._lock:
            self._open[number] = _Open(node, stream)
        with self._tree.lock:
            node.handles += 1

    def _listing(self, node: Node, behind: str) -> Listing:
        """Return a trusted listing that can go on behind a key, or a new one."""
        tree, store = self._tree, self._lookup.store
        listing = tree.current_listing(node)
        former = None
        if listing is not None and listing.for_lookups:
            listing, former = None, listing  # nobody has seen it: `ls` is to see what is there now
        if listing is not None and not behind and not listing.behind:
            return tree.merge(node, listing)
        if listing is not None and behind and listing.place_behind(behind) is not None:
            return listing
        start = behind if store.sorted else ""
        new = Listing(store, tree.key(node), tree.pages, start)
        above = tree.current_listing(node.parent) if node.parent is not None else None
        if above is not None and not above.for_lookups:  # else nobody came from there
            new.walked = self._lookup.walks.page
        made = tree.relist(node, new, former)
        if start != behind:
            made.load()
        return made

    def restore(self, state: SessionState) -> None:
        """Go on with the streams of a former process."""
        for number, logged in state.directories.items():
            with suppress(Stale):
                self._start(number, self._tree.get(logged.node), logged.answers)

    def read(self, handle: int, offset: int, want: int) -> Sequence[DirEntry]:
        """Return up to `want` entries behind the cookie `offset`."""
        found = self._open.get(handle)
        if found is None:
            raise BadHandle(f"directory handle {handle} is not open")
        here = found.node
        numbers = [self._tree.inode(node) for node in (here, here.parent or here)]
        entries = list(dots(offset, stat.S_IFDIR, numbers))[:want]
        if len(entries) < want:
            offset = max(offset, DOTS)
            answer = [(entry.offset, "") for entry in entries]
            names = found.stream.read(offset, want - len(entries))
            if offset == DOTS and found.stream.listing is not None:
                self._lookup.names_read(found.stream.listing)
            for name, entry, cookie, key in names:
                entries.append(self._entry(found.node, name, entry, cookie))
                answer.append((cookie, key))
                if key.endswith(FOLDER_SUFFIX):
                    self._lookup.markers.folders = True
            ahead = found.stream.page_ahead()
            if ahead is not None:
                self._lookup.pages.ahead(*ahead)
            if answer:
                self._tree.journal.answered(handle, answer)
        return entries

    def _entry(self, parent: Node, name: str, entry: Entry, cookie: int) -> DirEntry:
        kind, known = self._kind(parent, name, entry)
        return DirEntry(name, kind, cookie, known, self._tree.inode_of(parent, name))

    def _kind(self, parent: Node, name: str, entry: Entry) -> tuple[int, bool]:
        """Return the type bits of a name, and whether its attributes cost no request."""
        node = parent.children.get(name)
        known = node is not None and self._lookup.known(node)
        if entry.directory or (node is not None and node.directory):
            return stat.S_IFDIR, known
        if node is not None and node.posix is not None:
            return node.posix.kind, known
        info = entry.info
        if info is None or not self._lookup.may_be_special(info):
            return stat.S_IFREG, info is not None
        full = self._lookup.with_headers(info)
        if full is None:
            # It could be a link: only its attributes say. Where a scan has asked for them already,
            # READDIRPLUS returns them, and saves the LOOKUP of each name.
            return 0, self._lookup.comes_with_name(info.key)
        directory = is_old_form(full)
        return self._lookup.posix(full, directory).kind, True

    def release(self, handle: int) -> None:
        """Close a stream."""
        with self._lock:
            found = self._open.pop(handle, None)
        if found is None:
            if is_resent():
                return
            raise BadHandle(f"directory handle {handle} is not open")
        self._tree.journal.closed(handle)
        self._tree.released(found.node)
