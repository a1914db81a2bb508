"""The nodes the kernel knows, their names, and the keys those make.

Only this module maps names to keys. It makes no requests: `lookup` asks S3, `filesystem` changes.
Any thread: `lock` guards links, ids and counts, is held for dictionary work only, and is taken
before no other lock but a listing's leaf.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from fusefs import locks
from fusefs.attributes import Posix
from fusefs.errors import Stale
from fusefs.interface import ROOT, Invalidations, KnownName, Silent
from fusefs.locks import Rank
from fusefs.names.inodes import Inodes
from fusefs.names.listing import UNLIMITED, Entry, Listing
from fusefs.names.missing import MissingNames
from fusefs.names.pagememory import PageMemory
from fusefs.objects import ObjectInfo
from fusefs.session.sessionlog import LoggedNode, NoSessionJournal, SessionJournal, SessionState
from fusefs.write.filecontent import FileContent

NODES_MOST = 20_000
NODE_BYTES = 1200  # with all it holds of a file, measured with tracemalloc
# So many new nodes at once make us look for old ones to take back, among twice as many.
NODES_STEP = 64
RESTORED_AT_ONCE = 500  # nodes, for each time the lock is taken
NO_CHILDREN: dict[str, "Node"] = {}


@dataclass(eq=False, slots=True)
class Node:
    """A file or directory the kernel may know by `id`.

    `info` is what S3 said last, `posix` the attributes once they are known. `checked` is when that
    was true (monotonic seconds). `body` is there while the file is open or dirty.
    """

    id: int
    parent: "Node | None"
    name: str
    directory: bool
    children: dict[str, "Node"]  # of files one for all, which stays empty: `NO_CHILDREN`
    info: ObjectInfo | None = None
    posix: Posix | None = None
    checked: float = 0.0
    lookups: int = 0
    handles: int = 0
    gone: bool = False
    body: FileContent | None = None
    cached_etag: str | None = None
    lock: threading.RLock = field(default_factory=partial(locks.rlock, Rank.NODE))
    listing: Listing | None = None
    changed_ns: int = 0  # when an entry of it was made, moved or removed here
    inode: int = 0  # where it is kept: of directories, and of what has lost its first name

    def at_least(self, posix: Posix) -> Posix:
        """Return a directory's attributes with the times of a later change of its entries."""
        if self.changed_ns <= posix.mtime_ns:
            return posix
        return posix.touched(self.changed_ns)

    @property
    def local(self) -> bool:
        """Whether what we know of it is newer than what S3 could answer."""
        return self.body is not None and self.body.dirty


class Tree:
    """All nodes of one mount; keys start with `prefix` (empty, or ending in `/`).

    The kernel is asked to give back the oldest nodes beyond `nodes_most`. Those in use stay.
    """

    def __init__(
        self,
        prefix: str,
        ttl: float,
        journal: SessionJournal | None = None,
        pages: PageMemory | None = None,
        nodes_most: int = NODES_MOST,
    ) -> None:
        self.prefix = prefix
        self.ttl = ttl
        self.pages = pages or PageMemory(UNLIMITED)
        self.invalidations: Invalidations = Silent()
        self._nodes_most = nodes_most
        self.journal = journal or NoSessionJournal()
        self.lock = locks.rlock(Rank.TREE)
        self.root = Node(ROOT, None, "", directory=True, children={}, lookups=1)
        self.root.inode = ROOT
        self._inodes = Inodes()
        self.missing = MissingNames()
        self._nodes: OrderedDict[int, Node] = OrderedDict({ROOT: self.root})
        self._next = ROOT + 1

    def get(self, node: int) -> Node:
        """Return a node by id; raises Stale for one that was forgotten or never was."""
        found = self._nodes.get(node)
        if found is None:
            raise Stale(f"node {node} is not known any more")
        return found

    def key(self, node: Node) -> str:
        """Return the key of a file, or the prefix (ending in `/`) of a directory."""
        with self.lock:
            parts: list[str] = []
            at = node
            while at.parent is not None:
                parts.append(at.name)
                at = at.parent
        path = "/".join(reversed(parts))
        if node.directory and path:
            path += "/"
        return self.prefix + path

    def known(self, key: str) -> Node | None:
        """Return the node of a key, where there is one in the tree."""
        node: Node | None = self.root
        for name in key.removeprefix(self.prefix).rstrip("/").split("/"):
            node = node.children.get(name) if node is not None else None
        return node

    def child_key(self, parent: Node, name: str) -> str:
        """Return the key a file `name` in `parent` has."""
        return self.key(parent) + name

    def inode(self, node: Node) -> int:
        """Return the inode number of a node."""
        with self.lock:
            if node.inode or node.parent is None:
                return node.inode or node.id
            number = self._inodes.number(node.parent.inode or self.inode(node.parent), node.name)
            if node.directory or self._inodes.claimed:
                node.inode = number
            return number

    def _claim_inode(self, node: Node) -> None:
        """Let a node that loses its name keep its number."""
        node.inode = self.inode(node)
        self._inodes.claim(node.inode)

    def inode_of(self, parent: Node, name: str) -> int:
        """Return the inode number of a name, which may have no node."""
        with self.lock:
            node = parent.children.get(name)
            if node is not None:
                return self.inode(node)
            return self._inodes.number(self.inode(parent), name)

    def fresh(self, since: float) -> bool:
        """Say whether what was learned at `since` is still trusted."""
        return time.monotonic() - since < self.ttl

    def place(self, parent: Node, name: str, directory: bool) -> Node:
        """Return the child node of that name and kind, made where there is none."""
        with self.lock:
            node = parent.children.get(name)
            if node is not None and node.directory == directory:
                return node
            if node is not None:
                self.detach(node)
            node = Node(self._next, parent, name, directory, {} if directory else NO_CHILDREN)
            self._next += 1
            self._nodes[node.id] = node
            parent.children[name] = node
            self.missing.take(parent.id, name)
            self.journal.made(node.id, parent.id, directory, name)
            if len(self._nodes) > self._nodes_most and not node.id % NODES_STEP:
                self._take_back()
            return node

    def _take_back(self) -> None:
        """Ask the kernel for the oldest nodes that nobody uses; it may keep them."""
        oldest = list(islice(self._nodes.values(), 2 * NODES_STEP))
        for node in oldest:
            self._nodes.move_to_end(node.id)
        self.invalidations.unneeded(
            [
                KnownName(node.id, node.parent.id, node.name, node.directory)
                for node in oldest
                if node.parent is not None and node.lookups and not self._used(node)
            ]
        )

    @staticmethod
    def _used(node: Node) -> bool:
        return bool(node.handles or node.children or node.body is not None or node.gone)

    def restore(self, state: SessionState) -> None:
        """Make the nodes that the kernel has from a former process; all are yet to be checked."""
        for part in _parts(state.nodes.items()):
            with self.lock:
                for number, logged in part:
                    children: dict[str, Node] = {} if logged.directory else NO_CHILDREN
                    node = Node(number, None, logged.name, logged.directory, children, lookups=1)
                    node.checked = float("-inf")
                    node.gone = logged.gone
                    self._nodes[number] = node
        for part in _parts(state.nodes.items()):
            with self.lock:
                for number, logged in part:
                    self._restore_link(self._nodes[number], logged)
        with self.lock:
            self._next = max(self._next, state.last_node + 1)

    def _restore_link(self, node: Node, logged: LoggedNode) -> None:
        parent = self._nodes.get(logged.parent)
        if parent is None:
            node.gone = True
            return
        node.parent = parent
        if not logged.gone:
            parent.children[node.name] = node

    def detach(self, node: Node) -> None:
        """Take a node out of its directory; it lives on for whoever has it open."""
        with self.lock:
            self._claim_inode(node)
            node.gone = True
            self.journal.gone(node.id)
            parent = node.parent
            if parent is not None and parent.children.get(node.name) is node:
                del parent.children[node.name]
            self._sweep(node)

    def move(self, node: Node, parent: Node, name: str) -> None:
        """Give a node another place; its subtree and open files follow."""
        with self.lock:
            self._claim_inode(node)
            old = node.parent
            if old is not None and old.children.get(node.name) is node:
                del old.children[node.name]
            target = parent.children.get(name)
            if target is not None and target is not node:
                self.detach(target)
            node.parent, node.name = parent, name
            parent.children[name] = node
            self.missing.take(parent.id, name)
            self.journal.moved(node.id, parent.id, name)

    def forget(self, node: int, count: int) -> None:
        """The kernel gave back `count` lookups."""
        with self.lock:
            found = self._nodes.get(node)
            if found is not None and found is not self.root:
                found.lookups = max(0, found.lookups - count)
                self._sweep(found)

    def referenced(self, node: int) -> bool:
        """Return whether the kernel has lookups of a node; without the lock, a moment's truth."""
        found = self._nodes.get(node)
        return found is not None and found.lookups > 0

    def _sweep(self, node: Node | None) -> None:
        """Drop nodes that nobody holds, upwards: a parent lives as long as its children."""
        while node is not None and node is not self.root:
            if node.lookups or node.handles or node.children or node.local:
                return
            parent = node.parent
            if self._nodes.pop(node.id, None) is not None:
                self.journal.forgotten(node.id)
                if node.inode:
                    self._inodes.give_back(node.inode)
            if parent is not None and parent.children.get(node.name) is node:
                del parent.children[node.name]
            node = parent

    def released(self, node: Node) -> None:
        """A handle of the node was closed."""
        with self.lock:
            node.handles -= 1
            self._sweep(node)

    # -- what we did ourselves -------------------------------------------------------------------

    def listed(self, parent: Node, name: str, entry: Entry) -> None:
        """Remember in the directory's listing that we made `name`."""
        with self.lock:
            self.missing.take(parent.id, name)
            if parent.listing is not None and not parent.listing.put(name, entry):
                parent.listing = None

    def made(self, node: Node) -> None:
        """Remember in its directory's listing what a node is now."""
        with self.lock:
            if node.parent is not None and not node.gone:
                info = None if node.directory else node.info
                self.listed(node.parent, node.name, Entry(node.directory, info))

    def changed(self, directory: Node) -> None:
        """Give a directory the time of a change of its entries; in this mount, no request."""
        with self.lock:
            directory.changed_ns = time.time_ns()
            if directory.posix is not None:
                directory.posix = directory.at_least(directory.posix)

    def unlisted(self, parent: Node, name: str) -> None:
        """Remember that we removed `name`."""
        with self.lock:
            self.missing.note(parent.id, name, time.monotonic())
            if parent.listing is not None:
                parent.listing.remove(name)

    def missed(self, parent: Node, name: str, asked: float) -> None:
        """Remember that S3, `asked` at this time, had no `name`."""
        with self.lock:
            if parent.listing is not None and parent.listing.get(name) is not None:
                parent.listing.remove(name)
            self.missing.note(parent.id, name, asked)

    def missing_since(self, parent: Node, name: str) -> float:
        """Return when `name` was last known not to be there (monotonic seconds)."""
        with self.lock:
            return self.missing.since(parent.id, name)

    def current_listing(self, node: Node) -> Listing | None:
        """Return the directory's listing while it is trusted."""
        listing = node.listing
        fresh = listing is not None and time.monotonic() - listing.started < self.ttl
        return listing if fresh else None

    def relist(self, node: Node, listing: Listing, former: Listing | None = None) -> Listing:
        """Begin a new listing; children that aren't in S3 yet are in it from the start.

        A trusted one stays, and is returned, unless it is the `former` that is to be replaced.
        """
        with self.lock:
            current = self.current_listing(node)
            if current is former:
                current = None
            if current is not None and current.behind == listing.behind:
                return current
            for name, child in node.children.items():
                if child.local or self.holds_unsent(node, name):
                    info = None if child.directory else child.info
                    listing.put(name, Entry(child.directory, info))
            if current is None or not listing.behind:
                node.listing = listing
            return listing

    def holds_unsent(self, parent: Node, name: str) -> bool:
        """Say whether `name` is a directory with changed files below it that S3 may not have.

        It is there as long as they are, though S3 has neither a marker nor another key of it.
        """
        with self.lock:
            node = parent.children.get(name)
            if node is None or not node.directory:
                return False
            return any(each.local for each in self.walk(node))

    def merge(self, node: Node, listing: Listing) -> Listing:
        """Give a directory's listing what we made in its place among the rest."""
        merged = listing.merged()
        with self.lock:
            if node.listing is listing:
                node.listing = merged
        return merged

    def walk(self, node: Node) -> Iterator[Node]:
        """Yield a node and all known nodes below it."""
        with self.lock:
            found = [node]
            for child in found:
                found.extend(child.children.values())
        yield from found


def _parts(items: Iterable[tuple[int, LoggedNode]]) -> Iterator[list[tuple[int, LoggedNode]]]:
    left = iter(items)
    while part := list(islice(left, RESTORED_AT_ONCE)):
        yield part
