"""HEAD requests, some of them sent ahead for the next names of a directory in its order.

Requests for attributes in a listing's order (`ls -l`, `find`) are a scan. HEADs are sent ahead of
it in a growing window, so that the scan waits for one round trip in a hundred names.

Not here: the meaning of an answer (`lookup`). Any thread; `_lock` guards the requests in flight and
is a leaf. The position of a scan is one value of its listing, replaced as a whole: a race costs a
wrong guess.
"""

import time
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress

from fusefs import locks
from fusefs.errors import NotFound, Unavailable
from fusefs.locks import Rank
from fusefs.names.listing import Entry, Listing
from fusefs.names.remembered import Remembered
from fusefs.names.tree import Tree
from fusefs.names.walks import Walks
from fusefs.objects import ObjectInfo
from fusefs.s3.manyheads import ManyHeads, SentHead
from fusefs.s3.store import Store
from fusefs.waiting import waits

# The first window and the largest, in names: twice the concurrent requests, so that none waits.
AHEAD_FIRST, AHEAD_MOST = 8, 256
# HEADs are sent when a quarter of the window is free: sending each one by itself costs more.
BATCH = 4
# Within so many seconds of a long scan, the first name of the next directory begins another.
NEXT = 2.0
# Directories of a walk for which HEADs are sent before any name of the last ones was looked at.
UNPROVEN_MOST = 4


class HeadsAhead:
    """The HEADs of one mount.

    `known`: objects remembered from earlier answers. `walks`: know which directories have no
    marker. Without `enabled` each name is requested by itself.
    """

    def __init__(
        self,
        tree: Tree,
        store: Store,
        pool: Executor,
        known: Remembered,
        walks: Walks,
        *,
        enabled: bool = True,
    ) -> None:
        self._tree = tree
        self._store = store
        self._many = ManyHeads(store, pool)
        self._known = known
        self._walks = walks
        self._enabled = enabled
        self._scanned_at = float("-inf")
        self._probe = ""  # the key of a name that comes without the attributes asked for ahead
        self._unproven = 0  # directories since one whose probe was looked at
        self._asked: dict[str, SentHead] = {}
        self._lock = locks.lock(Rank.LEAF)

    def head(self, key: str, since: float = float("-inf")) -> tuple[ObjectInfo, float]:
        """Return an object by HEAD, perhaps one sent ahead since then, and when it was sent.

        Times are in monotonic seconds. Raises NotFound, or another FsError of the store's.
        """
        with self._lock:
            sent = self._asked.pop(key, None)
        if key == self._probe:
            self._unproven = 0
        if sent is not None and sent.at >= since and self._tree.fresh(sent.at):
            with suppress(NotFound):
                waits()
                info = sent.result()
                if not self._store.changes.overtook(key, sent.at):
                    self._known.add(info)
                    return info, sent.at
        info, asked = self._store.changes.settled(key, lambda: self._store.head(key))
        self._known.add(info)
        return info, asked

    def ahead(self, listing: Listing, name: str) -> None:
        """Send HEADs for the next names, where lookups follow the order of a listing."""
        if not self._enabled:
            return
        last, window = listing.scan
        position = listing.position(name, max(0, last))
        now = time.monotonic()
        if position is not None and last < 0 and now - self._scanned_at < NEXT:
            window = AHEAD_MOST  # the next directory of a scan
        elif position is None or last < 0:
            # The first of a listing, or a jump: one is not yet a scan.
            position = listing.position(name, 0) if position is None else position
            listing.scan = (position + 1 if position is not None else -1, 0)
            listing.sent_ahead = 0
            return
        window = min(max(window * 2, AHEAD_FIRST), AHEAD_MOST)
        listing.scan = (position + 1, window)
        if window == AHEAD_MOST:
            self._scanned_at = now
        start, end = max(position + 1, listing.sent_ahead), position + 1 + window
        if end - start < window // BATCH:
            return
        listing.sent_ahead = end
        keys = (
            self._key_of(listing, other, entry)
            for other, entry in listing.window(start, end - start)
        )
        self._send((key for key in keys if key is not None), listing.started)

    def walked(self, listing: Listing) -> None:
        """Send HEADs for a directory whose names are read first, and for those that follow it.

        That is where directories of a walk are scanned one after the other. The kernel doesn't say
        whether a reader looks at attributes that came with the names, so one name of each directory
        comes without: a reader that isn't seen to look at those is no scan.
        """
        if time.monotonic() - self._scanned_at > NEXT or self._unproven >= UNPROVEN_MOST:
            return
        objects = self._walks.onwards(listing.prefix, AHEAD_MOST)
        keys = [info.key for info in objects if self._known.completed(info) is None]
        if keys:
            self._probe, self._unproven = keys[0], self._unproven + 1
            with suppress(Unavailable):  # the mount is ending
                self._send(keys, listing.started)

    def is_sent(self, key: str) -> bool:
        """Return whether a HEAD was sent ahead that nobody has asked for yet."""
        return key in self._asked

    def comes_with_name(self, key: str) -> bool:
        """Return whether an object's attributes are to come with its name, once they are there."""
        return key in self._asked and key != self._probe

    def scanned(self, listing: Listing, name: str) -> bool:
        """Return whether a scan of the listing is under way, and `name` is its next."""
        at, window = listing.scan
        return window > 0 and listing.position(name, at) is not None

    def _key_of(self, listing: Listing, name: str, entry: Entry) -> str | None:
        """Return the key whose HEAD has a name's attributes; None where they are known."""
        info = entry.info
        if info is not None:
            known = info.headers is not None or self._known.completed(info) is not None
            return None if known else info.key
        key = listing.prefix + name + "/"
        marker = self._known.get(key)
        known = marker is not None and self._tree.fresh(marker.at)
        return None if known or not entry.directory or self._walks.lacks(key) else key

    def _send(self, keys: Iterable[str], since: float) -> None:
        """Send HEADs, but of what one was sent for since then."""
        wanted = list(keys)
        with self._lock:
            if len(self._asked) >= 4 * AHEAD_MOST:  # left by a scan that stopped
                self._asked.clear()
            asked = self._asked
            heads = [SentHead(key) for key in wanted if key not in asked or asked[key].at < since]
            self._asked |= {head.key: head for head in heads}
        self._many.send(heads)
