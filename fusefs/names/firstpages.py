"""Listing a directory to answer lookups: one page answers for a thousand names.

A lookup of one name costs a HEAD and a LIST of one key. At the lookup of a second name in the same
directory, that LIST requests the directory's first page instead, and most later lookups cost
nothing. In a larger directory the next page is requested after every `NAMES_A_PAGE` lookups of
names beyond the pages so far, so that listing stays cheap beside the lookups. A page answers only
for the names in it: any other name may be newer than the page, and is requested by itself, or in a
small directory by listing it again.

Not here: the meaning of an answer (`lookup`), listings read as directories (`directories`).

Any thread; `_lock` guards the record of recent lookups and is a leaf.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.errors import FsError, NotFound
from fusefs.locks import Rank
from fusefs.names.listing import Listing
from fusefs.names.tree import Node, Tree
from fusefs.objects import ObjectInfo
from fusefs.recent import Recent
from fusefs.s3.store import Store

log = logging.getLogger(__name__)

# Lookups of two names in a directory within so many seconds are worth a page.
TOGETHER = 10.0
# Seconds for which each page answers: no program has seen it, so it isn't trusted as long as a page
# that was read. A new one costs little beside the lookups of that time.
TRUST = 5.0
DIRECTORIES = 1024  # directories whose last lookups are remembered
# So many lookups of names beyond the pages are worth one more page.
NAMES_A_PAGE = 4
# A directory of at most so many names is listed again rather than requesting one name.
FEW = 100
# A directory of more names, so of several pages, is never listed again for a name that it lacks.
ONE_PAGE = 1000


class FirstPages:
    """The pages listed for the lookups of one mount.

    `asks` runs the LIST of a lookup beside its HEAD, which `head` sends. Without `enabled` each
    name is requested by itself.
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
        self._last: Recent[int, tuple[str, float]] = Recent(DIRECTORIES)
        self._uncovered: Recent[int, int] = Recent(DIRECTORIES)
        self._lock = locks.lock(Rank.LEAF)

    def current(self, parent: Node) -> Listing | None:
        """Return the trusted listing of a directory; one made for lookups has its first page."""
        listing = self._tree.current_listing(parent)
        if listing is None or not listing.for_lookups:
            return listing
        pages = listing.pages
        if time.monotonic() - listing.started > TRUST * max(1, pages):
            return None
        if not pages:
            listing.load(0)
        return listing

    def what(self, parent: Node, name: str, key: str) -> tuple[ObjectInfo | None, bool]:
        """Return the object of a name, and whether there are keys below it.

        Sends two requests at once, HEAD and LIST; the LIST is of the directory's first page where
        that is worth it. Raises FsError where the store refuses one.
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
        """Return a new listing for a directory in which a second name is looked up, or None."""
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
        """Note a lookup; return whether another name of its directory was looked up recently."""
        now = time.monotonic()
        with self._lock:
            before, at = self._last.get(parent.id, (name, 0.0))
            self._last[parent.id] = (name, now)
        return before != name and now - at < TOGETHER

    def _go_on(self, parent: Node, listing: Listing) -> None:
        """Count a lookup beyond the pages of a listing; request the next page after a few."""
        if not listing.for_lookups or listing.ended:
            return
        with self._lock:
            count = self._uncovered.get(parent.id, 0) + 1
            self._uncovered[parent.id] = count
        if count % NAMES_A_PAGE == 0:
            self._asks.submit(self._load, listing, listing.pages)

    def ahead(self, listing: Listing, page: int) -> None:
        """Request a page of a listing that is being read before the reader comes to it."""
        if self.enabled:
            with suppress(FsError):  # the mount is ending
                self._asks.submit(self._load, listing, page)

    @staticmethod
    def _load(listing: Listing, page: int) -> None:
        with bulkhead("listing a directory ahead", directory=listing.prefix):
            try:
                listing.load(page)
            except FsError as error:  # a lookup that needs it gets its own error
                log.debug("LIST of %s failed: %s", listing.prefix, error)

    def renewed(self, parent: Node, name: str, listing: Listing | None) -> Listing | None:
        """Return a new listing that covers a name which `listing` lacks, or None.

        None where requesting the name alone is cheaper: in a directory of more than a page, or of
        many names where no other is looked up.
        """
        if not self.enabled or listing is None or not listing.complete:
            return None
        names = listing.names
        if names > ONE_PAGE or (names > FEW and not self._together(parent, name)):
            return None
        made = self._new(parent, listing)
        made.load(0)
        return made if made.covers(name) else None
