"""Finding names in S3 and learning their attributes, with as few requests as there can be.

A name in a trusted listing costs nothing, its stored attributes one HEAD, and none once they are
remembered by key, ETag and time. A name nobody listed costs a HEAD and a LIST, at once; which LIST
is for `firstpages` to say. A scan (`ls -l`, `find`) is recognised and its HEADs are sent ahead,
many at a time.

Any thread. `_lock` guards the memory and the requests under way; it is a leaf.
"""

import time
from collections.abc import Callable, Container
from concurrent.futures import Executor
from typing import Protocol

from fusefs import attributes, keys, locks
from fusefs.attributes import Defaults, Posix
from fusefs.errors import NotFound
from fusefs.interface import Invalidations
from fusefs.locks import Rank
from fusefs.names.firstbytes import FirstBytes
from fusefs.names.firstpages import FirstPages
from fusefs.names.headsahead import HeadsAhead
from fusefs.names.listing import Entry, Listing
from fusefs.names.markers import Markers, is_old_form
from fusefs.names.missing import MissingNames
from fusefs.names.remembered import REMEMBERED, REMEMBERED_BYTES, Remembered
from fusefs.names.rootattributes import RootAttributes
from fusefs.names.tree import Node, Tree
from fusefs.names.walks import Walks
from fusefs.objects import ObjectInfo
from fusefs.s3.store import Store

# Seconds for which a name that S3 has not counts as missing; how many that nobody asked for again.
NEGATIVE_TTL = 1.0
JUST_MISSED = 1024
# A directory's own attributes have no ETag in its parent's LIST to be checked by, so they are
# trusted longer than the names in it.
DIRECTORY_TTLS = 10


class LookupPools(Protocol):
    """Threads for requests that somebody waits for, and for those sent ahead."""

    asks: Executor
    ahead: Executor


class Lookup:
    """Answers what a name is. `stored` says whether attributes are kept in object metadata.

    `without` names what isn't done to save requests (`MountSettings.without`).
    """

    def __init__(
        self,
        tree: Tree,
        store: Store,
        pools: LookupPools,
        defaults: Defaults,
        stored: bool,
        remembered: Remembered | None = None,
        without: Container[str] = (),
        first: FirstBytes | None = None,
    ) -> None:
        self.tree = tree
        self.store = store
        self.defaults = defaults
        self.stored = stored
        self.invalidations: Invalidations | None = None
        self.negative_ttl = NEGATIVE_TTL
        # Seconds for which a name that a listing lacks counts as missing (`--content-ttl`).
        self.absent_ttl = 0.0
        # Gives what is being fetched already, by whoever knows that it will be opened.
        self.fetched: Callable[[str], ObjectInfo | None] = lambda _: None
        self.root: RootAttributes | None = None
        # What S3 was found not to have, and has answered to nobody a second time since.
        self.just_missed = MissingNames(JUST_MISSED)
        self._pools = pools
        self._known = remembered or Remembered(REMEMBERED, REMEMBERED_BYTES)
        self._lock = locks.lock(Rank.LEAF)
        self._started = time.time_ns()
        self.first = first or FirstBytes(store, 0, enabled=False)
        self.pages = FirstPages(tree, store, pools.asks, self._look, enabled="lists" not in without)
        self.walks = Walks(store, pools.asks, enabled="walks" not in without)
        ahead = "heads" not in without
        self._heads = HeadsAhead(tree, store, pools.ahead, self._known, self.walks, enabled=ahead)
        self.markers = Markers(tree, self._marker)

    # -- attributes ------------------------------------------------------------------------------

    def remember(self, info: ObjectInfo) -> None:
        """Remember the headers of an object that a HEAD, a GET or our own request returned."""
        self._known.add(info)

    def forget(self, key: str) -> None:
        """Forget what was remembered of a key."""
        self._known.forget(key)

    def with_headers(self, info: ObjectInfo) -> ObjectInfo | None:
        """Add the remembered headers to an object of a LIST; None where there are none."""
        if info.headers is not None:
            return info
        return self._known.completed(info) if self.stored else None

    def posix(self, info: ObjectInfo | None, directory: bool) -> Posix:
        """Return the attributes in an object's headers, defaults for the rest."""
        if info is None:
            plain = attributes.plain(None, self.defaults, directory)
            at = self._started
            return Posix(plain.mode, plain.uid, plain.gid, at, at, at)
        if not self.stored:
            return attributes.plain(info, self.defaults, directory)
        return attributes.read(info, self.defaults, directory)

    # -- finding ---------------------------------------------------------------------------------

    def known(self, node: Node) -> bool:
        """Say whether asking for a node's attributes costs no request now."""
        return node.local or (node.posix is not None and self.tree.fresh(node.checked))

    def may_be_special(self, info: ObjectInfo) -> bool:
        """Say whether an object may be something else than a plain file, a link most likely."""
        return self.stored and info.size <= attributes.LINK_MOST

    def glance(self, parent: Node, name: str) -> Node:
        """Return the node of a name, without its attributes where they would cost a request.

        Who removes or opens a file doesn't need them. Only its kind must be certain.
        """
        listing = self.pages.current(parent)
        entry = listing.get(name) if listing is not None else None
        if listing is None or entry is None or entry.info is None:
            return self.find(parent, name, by_listing=True)
        node = parent.children.get(name)
        if node is not None and (node.posix is not None or node.body is not None):
            return self.find(parent, name)
        if self.may_be_special(entry.info) or self._heads.scanned(listing, name):
            return self.find(parent, name)
        full = self.with_headers(entry.info)
        return self.learn(parent, name, full or entry.info, listing.started, listed=True)

    def find(
        self, parent: Node, name: str, *, to_make: bool = False, by_listing: bool = False
    ) -> Node:
        """Return the node of a name, with its attributes known; raises NotFound.

        What isn't there is asked for again after `negative_ttl`. Who is about to make the name
        (`to_make`) gets that only from an answer to the lookup before, which the kernel always
        sends: what others made meanwhile must not be taken for a new name. `by_listing`: a listing
        that lacks the name will do, too, where `absent_ttl` allows that. That is for looks, and for
        a new file, whose content is stored on the condition that there is none.
        """
        tree = self.tree
        node = parent.children.get(name)
        if node is not None and self.known(node):
            return node
        listing = self.pages.current(parent)
        entry = listing.get(name) if listing is not None else None
        if listing is not None and entry is not None:
            return self._listed(parent, listing, name, entry)
        absent = by_listing and self._is_absent(parent, name)
        if absent or self._is_missing(parent, name, listing, to_make=to_make):
            raise NotFound(f"{tree.child_key(parent, name)}: no such file or directory")
        renewed = self.pages.renewed(parent, name, listing)
        if renewed is not None and not tree.holds_unsent(parent, name):
            return self._renewed(parent, renewed, name)
        return self._ask(parent, name)

    def _renewed(self, parent: Node, listing: Listing, name: str) -> Node:
        """Answer from a listing that was asked for since the question."""
        entry = listing.get(name)
        if entry is not None:
            return self._listed(parent, listing, name, entry)
        key = self.tree.child_key(parent, name)
        self._missing(parent, name, key, listing.started)
        raise NotFound(f"{key}: no such file or directory")

    def _is_absent(self, parent: Node, name: str) -> bool:
        """Say whether the listing lacks a name, and is new enough to be believed in that.

        One made for lookups, which no program has seen, isn't.
        """
        listing = parent.listing
        if listing is None or listing.for_lookups:
            return False
        if time.monotonic() - listing.started >= self.absent_ttl:
            return False
        # A node, if there is one, is of our own making or was found later.
        known = name in parent.children or listing.get(name) is not None
        return not known and listing.covers(name)

    def _is_missing(
        self, parent: Node, name: str, listing: Listing | None, *, to_make: bool
    ) -> bool:
        """Say whether S3 was asked so lately for a name that it still counts as not there."""
        with self._lock:
            just = self.just_missed.take(parent.id, name)
        if to_make:
            return time.monotonic() - just < NEGATIVE_TTL
        since = self.tree.missing_since(parent, name)
        latest = parent.listing
        if latest is not None and latest.started > since and latest.get(name) is not None:
            return False  # shown since then, by a listing that isn't trusted for long
        if listing is not None and listing.complete and listing.tells_missing:
            since = max(since, listing.started)
        return time.monotonic() - since < self.negative_ttl

    def there(self, parent: Node, name: str, *, to_make: bool = False) -> Node | None:
        """Return the node of a name, None where there is none."""
        try:
            return self.find(parent, name, to_make=to_make)
        except NotFound:
            return None

    def vanished(self, node: Node) -> None:
        """Take over that an object is gone, of which nobody here has changes."""
        with self.tree.lock:
            if node.parent is not None and not node.gone and not node.local:
                self.tree.missed(node.parent, node.name, float("-inf"))
                self.tree.detach(node)

    def _listed(self, parent: Node, listing: Listing, name: str, entry: Entry) -> Node:
        if entry.directory:
            return self.learn_directory(parent, name)
        assert entry.info is not None  # noqa: S101 - files in a listing have one
        info = entry.info
        if self.stored:
            full = self.with_headers(info)
            if full is None:
                try:
                    full = self._asked(listing, name, info)
                except NotFound:
                    self.tree.missed(parent, name, time.monotonic())
                    raise
            info = full
        return self.learn(parent, name, info, listing.started, listed=True)

    def _asked(self, listing: Listing, name: str, listed: ObjectInfo) -> ObjectInfo:
        """Learn the headers of an object in a listing: of one that is opened with its content."""
        fetched = self.fetched(listed.key)
        if fetched is not None:
            return fetched
        sent = self._heads.is_sent(listed.key)
        if not sent and self.first.likely(listed.key, listed, names_read=not listing.for_lookups):
            changes = self.store.changes
            info = changes.settled(listed.key, lambda: self.first.ask(listed.key, listed))[0]
            self.remember(info)
            return info
        self._heads.ahead(listing, name)
        # What a scan asked for before this listing may be older than it.
        return self._heads.head(listed.key, listing.started)[0]

    def names_read(self, listing: Listing) -> None:
        """Take note that the first names of a directory are being read."""
        if self.stored:
            self._heads.walked(listing)

    def comes_with_name(self, key: str) -> bool:
        """Return whether an object's attributes come with its name: a scan asked for them ahead."""
        return self._heads.comes_with_name(key)

    def _look(self, key: str) -> ObjectInfo:
        """Ask for an object that nothing is known of."""
        return self.first.ask(key) if self.first.likely(key) else self.store.head(key)

    def _ask(self, parent: Node, name: str) -> Node:
        key = self.tree.child_key(parent, name)
        if not keys.findable(name, key):
            raise NotFound(f"{key!r}: no such file or directory")
        (info, directory), asked = self.store.changes.settled(
            key, lambda: self.pages.what(parent, name, key)
        )
        if info is None and not directory:
            info = self.markers.alone(key)
            directory = info is not None or self.tree.holds_unsent(parent, name)
        if directory:
            marker = info is not None and (info.key != key or is_old_form(info))
            return self.learn_directory(parent, name, info if marker else None)
        if info is None:
            self._missing(parent, name, key, asked)
            raise NotFound(f"{key}: no such file or directory")
        self.remember(info)
        return self.learn(parent, name, info, asked)

    def _missing(self, parent: Node, name: str, key: str, asked: float) -> None:
        """Take over that S3 has no such name, unless a change of ours may be newer than that."""
        changes = self.store.changes
        with self.tree.lock:
            if changes.overtook(key, asked) or changes.overtook_below(key + "/", asked):
                return
            gone = parent.children.get(name)
            if gone is not None and not gone.local:
                self.tree.detach(gone)
            self.tree.missed(parent, name, asked)
        with self._lock:
            self.just_missed.note(parent.id, name, asked)

    def learn(
        self, parent: Node, name: str, info: ObjectInfo, asked: float, *, listed: bool = False
    ) -> Node:
        """Take over what S3, `asked` at this time, answered about a file; returns its node.

        Where a change of ours may be newer than that, what we know already stands. A listing
        (`listed`) has our changes in it.
        """
        if is_old_form(info):
            return self.learn_directory(parent, name, info)
        with self.tree.lock:
            overtaken = self.store.changes.overtook(info.key, asked)
            node = parent.children.get(name)
            if overtaken and node is not None and not node.directory and node.info is not None:
                return node
            node = self.tree.place(parent, name, directory=False)
            if node.local:
                return node
            changed = node.info is not None and node.info.etag != info.etag
            node.info = info
            if node.body is not None:
                node.body.replaced = node.body.etag != info.etag
            unknown = self.stored and info.headers is None
            node.posix = None if unknown else self.posix(info, directory=False)
            node.checked = float("-inf") if overtaken and not listed else asked
        if changed and self.invalidations is not None and node.cached_etag != info.etag:
            self.invalidations.node_changed(node.id)
        return node

    def learn_directory(self, parent: Node, name: str, info: ObjectInfo | None = None) -> Node:
        """Return a directory's node with the attributes of its marker, if it has one."""
        with self.tree.lock:
            node = self.tree.place(parent, name, directory=True)
            trusted = self.tree.ttl * DIRECTORY_TTLS
            if node.posix is not None and time.monotonic() - node.checked < trusted:
                return node
        self.load_marker(node, info)
        return node

    def load_marker(self, node: Node, info: ObjectInfo | None = None) -> None:
        """Learn a directory's own attributes: one HEAD of its marker, where they are stored."""
        key = self.tree.key(node)
        if info is None and self.stored and key:
            info = self.markers.of(node)
        node.info = info
        kept = self.root.load(self.defaults) if self.root is not None and not key else None
        node.posix = node.at_least(kept or self.posix(info, directory=True))
        node.checked = time.monotonic()

    def _marker(self, key: str) -> ObjectInfo:
        if self.walks.lacks(key):
            raise NotFound(f"{key}: no such object")
        return self._heads.head(key)[0]

    # -- again -------------------------------------------------------------------------------------

    def refresh(self, node: Node) -> None:
        """Ask S3 again about a node whose TTL ended; raises NotFound when it is gone."""
        if self.known(node):
            return
        if node.directory:
            if time.monotonic() - node.checked >= self.tree.ttl * DIRECTORY_TTLS:
                self.load_marker(node)
            return
        parent = node.parent
        if parent is None or node.gone:
            return
        listing = self.pages.current(parent)
        if listing is not None and (listing.started > node.checked or node.posix is None):
            self.find(parent, node.name)
            return
        info, asked = self._heads.head(self.tree.key(node))
        self.learn(parent, node.name, info, asked)
