"""HEAD requests, some of them sent ahead for the next names of a directory in its order.

Requests for attributes in a listing's order (`ls -l`, `find`) are a scan. HEADs are sent ahead of
it in a growing window, so that the scan waits for one round trip in a hundred names.

Not here: the meaning of an answer (`lookup`). Any thread; `_lock` guards the requests in flight and
is a leaf. The position of a scan is one value of its listing, replaced as a whole: a race costs a
wrong guess.
"""

import time
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass

from fusefs import locks
from fusefs.errors import NotFound
from fusefs.locks import Rank
from fusefs.names.listing import Listing
from fusefs.names.remembered import Remembered
from fusefs.names.tree import Tree
from fusefs.names.walks import Walks
from fusefs.objects import ObjectInfo
from fusefs.s3.store import Store

# The first window and the largest, in names: twice the concurrent requests, so that none waits.
AHEAD_FIRST, AHEAD_MOST = 8, 256
# Within so many seconds of a long scan, the first name of the next directory begins another.
NEXT = 2.0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A HEAD sent ahead, and the time just before it was sent (monotonic seconds)."""

    at: float
    answer: Future[ObjectInfo]


class HeadsAhead:
    """The HEADs of one mount.

    `known`: objects remembered from earlier answers. `walks`: know which directories have no
    marker.
    """

    def __init__(
        self, tree: Tree, store: Store, pool: Executor, known: Remembered, walks: Walks
    ) -> None:
        self._tree = tree
        self._store = store
        self._pool = pool
        self._known = known
        self._walks = walks
        self._scanned_at = float("-inf")
        self._asked: dict[str, _Sent] = {}
        self._lock = locks.lock(Rank.LEAF)

    def head(self, key: str) -> tuple[ObjectInfo, float]:
        """Return an object by HEAD, perhaps one sent ahead, and when it was sent.

        The time is in monotonic seconds. Raises NotFound, or another FsError of the store's.
        """
        with self._lock:
            sent = self._asked.pop(key, None)
        if sent is not None and self._tree.fresh(sent.at):
            with suppress(NotFound):
                info = sent.answer.result()
                if not self._store.changes.overtook(key, sent.at):
                    self._known.add(info)
                    return info, sent.at
        info, asked = self._store.changes.settled(key, lambda: self._store.head(key))
        self._known.add(info)
        return info, asked

    def ahead(self, listing: Listing, name: str) -> None:
        """Send HEADs for the next names, where lookups follow the order of a listing."""
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
        listing.sent_ahead = end
        for other, entry in listing.window(start, end - start):
            if entry.info is not None:
                if entry.info.headers is None and self._known.completed(entry.info) is None:
                    self._send(entry.info.key)
            elif entry.directory:
                self._send_directory(listing.prefix + other + "/")

    def scanned(self, listing: Listing, name: str) -> bool:
        """Return whether a scan of the listing is under way, and `name` is its next."""
        at, window = listing.scan
        return window > 0 and listing.position(name, at) is not None

    def _send_directory(self, key: str) -> None:
        known = self._known.get(key)
        if (known is None or not self._tree.fresh(known.at)) and not self._walks.lacks(key):
            self._send(key)

    def _send(self, key: str) -> None:
        now = time.monotonic()
        with self._lock:
            if key in self._asked:
                return
            if len(self._asked) >= 4 * AHEAD_MOST:  # left by a scan that stopped
                self._asked.clear()
            answer = self._pool.submit(self._store.head, key)
            self._asked[key] = _Sent(now, answer)
