"""Listing a directory for the sake of lookups: a page answers for a thousand names at once.

One name costs a HEAD and a LIST of one key. When a second name of the same directory is asked for,
that LIST is of the directory's first page instead, and most later names cost nothing. In a
directory of more names the next page is asked for after each few names that the pages so far don't
tell of, so that what is listed stays small beside what is asked. A page tells only of names that
are in it: others may be as new as the question, and are asked for. In a small directory one LIST is
that question, too.

Not here: what an answer means (`lookup`), listings that are read as directories (`directories`).

Any thread; `_lock` guards what was asked lately and is a leaf.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.errors import FsError, NotFound
from fusefs.locks import Rank
from fusefs.names.listing import Listing
from fusefs.names.tree import Node, Tree
from fusefs.objects import ObjectInfo
from fusefs.s3.store import Store

log = logging.getLogger(__name__)

# Two names of a directory that are asked for within so many seconds are worth a page.
TOGETHER = 10.0
# Seconds for which each page answers: nobody has seen it, so it isn't trusted like one that was
# read. The next one costs little beside what is asked in that time.
TRUST = 5.0
DIRECTORIES = 1024  # of so many is it known what was asked last
# So many names that the pages don't tell of are worth one page more.
NAMES_A_PAGE = 4
# A directory of so few names is listed again sooner than one of them is asked for.
FEW = 100
# Names of a listing that is asked for again, for those that it lacks: one page.
ONE_PAGE = 1000


class FirstPages:
    """The pages that lookups of one mount had listed. `enabled`: else names are asked for singly.

    `asks` runs the LIST of a lookup beside its HEAD, which `head` sends.
    """

    def __init__(
        self,
        tree: Tree,
        store: Store,
        asks: Executor,
        head: Callable[[str], ObjectInfo],
        *,
        enabled: bool = True,
    ) -> None:
        self._tree = tree
        self._store = store
        self._asks = asks
        self._ask = head
        self.enabled = enabled and store.sorted
        self._last: OrderedDict[int, tuple[str, float]] = OrderedDict()
        self._uncovered: OrderedDict[int, int] = OrderedDict()
        self._lock = locks.lock(Rank.LEAF)

    def current(self, parent: Node) -> Listing | None:
        """Return the trusted listing of a directory; one made for lookups has its first page."""
        listing = self._tree.current_listing(parent)
        if listing is None or not listing.for_lookups:
            return listing
        if time.monotonic() - listing.started > TRUST * max(1, listing.pages):
            return None
        if not listing.pages:
            listing.load(0)
        return listing

    def what(self, parent: Node, name: str, key: str) -> tuple[ObjectInfo | None, bool]:
        """Return the object of a name, and whether there are keys below it: two requests at once.

        The second is the LIST of the directory's first page, where that is worth it.
        """
        listing = self._begun(parent, name)
        if listing is None:
            return self._singly(key)
        loading = self._asks.submit(listing.load, 0)
        info = self._head(key)
        loading.result()
        entry = listing.get(name)
        if entry is not None:
            return info, entry.directory
        return info, not listing.covers(name) and self._below(key)

    def _singly(self, key: str) -> tuple[ObjectInfo | None, bool]:
        below = self._asks.submit(self._below, key)
        try:
            info = self._head(key)
        finally:
            directory = below.result()
        return info, directory

    def _below(self, key: str) -> bool:
        page = self._store.list_page(key + "/", "/", None, 1)
        return bool(page.objects or page.prefixes)

    def _head(self, key: str) -> ObjectInfo | None:
        try:
            return self._ask(key)
        except NotFound:
            return None

    def _begun(self, parent: Node, name: str) -> Listing | None:
        """Return a new listing for a directory of which a second name is asked for."""
        together = self._together(parent, name)
        if not self.enabled:
            return None
        listing = self.current(parent)
        if listing is not None:
            self._go_on(parent, listing)
            return None
        return self._new(parent, self._tree.current_listing(parent)) if together else None

    def _new(self, parent: Node, former: Listing | None) -> Listing:
        made = Listing(self._store, self._tree.key(parent), self._tree.pages)
        made.tells_missing = False
        made.for_lookups = former is None or former.for_lookups
        return self._tree.relist(parent, made, former)

    def _together(self, parent: Node, name: str) -> bool:
        """Note that a name is asked for; say whether another of its directory was, lately."""
        now = time.monotonic()
        with self._lock:
            before, at = self._last.pop(parent.id, (name, 0.0))
            self._last[parent.id] = (name, now)
            if len(self._last) > DIRECTORIES:
                self._last.popitem(last=False)
        return before != name and now - at < TOGETHER

    def _go_on(self, parent: Node, listing: Listing) -> None:
        """Count a name that is beyond the pages of a listing; ask for the next one in time."""
        if not listing.for_lookups or listing.ended:
            return
        with self._lock:
            count = self._uncovered.pop(parent.id, 0) + 1
            self._uncovered[parent.id] = count
            if len(self._uncovered) > DIRECTORIES:
                self._uncovered.popitem(last=False)
        if count % NAMES_A_PAGE == 0:
            self._asks.submit(self._next_page, listing)

    @staticmethod
    def _next_page(listing: Listing) -> None:
        with bulkhead("listing a directory ahead", directory=listing.prefix):
            try:
                listing.load(listing.pages)
            except FsError as error:  # whoever needs the page asks again, and is told
                log.debug("LIST of %s failed: %s", listing.prefix, error)

    def renewed(self, parent: Node, name: str, listing: Listing | None) -> Listing | None:
        """Return a listing asked for now that tells of a name which `listing` lacks, or None.

        None where asking for the name alone is cheaper: in a directory of more than a page, or of
        many names where it's the only one.
        """
        if not self.enabled or listing is None or not listing.complete:
            return None
        names = listing.names
        if names > ONE_PAGE or (names > FEW and not self._together(parent, name)):
            return None
        made = self._new(parent, listing)
        made.load(0)
        return made if made.covers(name) else None
