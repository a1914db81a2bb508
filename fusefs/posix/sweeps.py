"""Small files fetched before they are opened, where a program reads a directory's files in order.

Only with a `--content-ttl`: a file fetched ahead is older than the open that uses it. With one, an
open for reading also uses cached content whose version S3 reported within that time.

After the second open in a directory the next files of its listing are fetched: four more for each
open that found nothing of its file, twice as many after one that had to wait, no more after others.
So a reader in the listing's order has as many before it as it needs, and little is wasted where it
goes elsewhere; one in another order has the whole directory fetched. Once the reader has gone back
to an earlier file, those before its first file are fetched, too. From two seconds after the last
open on, no fetch begins.

Any thread; `_lock` guards the sweeps, and is held over no request.
"""

import time
from collections import OrderedDict
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass, field
from enum import Enum

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.cache.cache import Cache
from fusefs.counters import Count
from fusefs.errors import FsError
from fusefs.locks import Rank
from fusefs.names.firstbytes import READY_CLASSES, Start
from fusefs.names.listing import Listing
from fusefs.names.lookup import Lookup
from fusefs.names.pages import PAGE_MOST
from fusefs.names.tree import Node, Tree
from fusefs.objects import ObjectInfo
from fusefs.recent import Recent
from fusefs.waiting import waits

# Files fetched ahead for each open that found nothing; in all; and bytes that no open has used yet.
GROWTH, FILES_MOST, BYTES_MOST = 4, 4096, 64 << 20
# Concurrent fetches: with round trips of 20 ms, 1 600 files a second.
AT_ONCE = 32
# As many files before a reader in the listing's order keep all fetches busy, however fast it is.
ENOUGH = 2 * AT_ONCE
IDLE = 2.0  # seconds without an open that end a sweep
SWEEPS_MOST = 8


class _Found(Enum):
    """What an open found of its file: all of it, a fetch under way, or nothing."""

    READY = "ready"
    UNDER_WAY = "under way"
    NOTHING = "nothing"


@dataclass(slots=True)
class _Fetch:
    info: ObjectInfo
    asked: float
    answer: Future[ObjectInfo | None]


@dataclass(eq=False, slots=True)
class _Sweep:
    """The progress of one directory that is read file by file."""

    listing: Listing
    start: int
    position: int
    wraps: bool = False
    opened: int = 0
    most: int = 0  # files fetched ahead and not opened yet, at most
    opened_at: float = 0.0
    running: int = 0
    unread: int = 0  # bytes fetched ahead and not opened yet
    filling: bool = False
    at_end: bool = False
    fetches: dict[str, _Fetch] = field(default_factory=dict)


class Sweeps:
    """The sweeps of one mount: the directories that are read file by file.

    `length`: bytes of the largest file that counts as small. `ttl`: `--content-ttl` in seconds; 0
    for no sweeps.
    """

    def __init__(
        self, tree: Tree, lookup: Lookup, cache: Cache, pool: Executor, length: int,
        ttl: float,
    ) -> None:  # fmt: skip
        self._tree = tree
        self._lookup = lookup
        self._store = lookup.store
        self._cache = cache
        self._pool = pool
        self._length = length
        self._ttl = ttl
        self._sweeps: OrderedDict[int, _Sweep] = OrderedDict()  # by the directory's node
        self._opening: Recent[str, _Found] = Recent(FILES_MOST)  # by the keys of recent opens
        self._lock = locks.lock(Rank.SWEEP)
        if ttl:
            lookup.fetched = self.fetched

    def take(self, node: Node, key: str) -> Start | None:
        """Return a file's version without a request, where S3 reported it within the TTL."""
        if not self._ttl or node.parent is None:
            return None
        fetch = self._taken(node.parent, key)
        prompt = fetch is None or fetch.answer.done()
        start = self._start(node, key, fetch)
        if start is not None and prompt:
            with self._lock:
                self._opening[key] = _Found.READY
        return start

    def _start(self, node: Node, key: str, fetch: _Fetch | None) -> Start | None:
        info = _come(fetch) if fetch is not None else None
        if fetch is not None and info is not None and self._is_new(key, fetch.asked):
            return Start(info, b"", fetch.asked)
        known, asked = node.info, node.checked
        info = self._lookup.with_headers(known) if known is not None else None
        whole = info is not None and info.size > 0 and self._cache.whole(key, info.etag)
        if info is None or not whole or not self._is_new(key, asked):
            return None
        return Start(info, b"", asked)

    def fetched(self, key: str) -> ObjectInfo | None:
        """Wait for the fetch of a file and return its version; None where no fetch is under way."""
        with self._lock:
            fetch = None
            for sweep in self._sweeps.values():
                fetch = sweep.fetches.get(key)
                if fetch is not None:
                    self._grow(sweep, _Found.READY if fetch.answer.done() else _Found.UNDER_WAY)
                    break
        info = _come(fetch) if fetch is not None else None
        return info if fetch is not None and self._is_new(key, fetch.asked) else None

    def _is_new(self, key: str, asked: float) -> bool:
        fresh = time.monotonic() - asked < self._ttl
        return fresh and not self._store.changes.overtook(key, asked)

    def _taken(self, parent: Node, key: str) -> _Fetch | None:
        with self._lock:
            sweep = self._sweeps.get(parent.id)
            fetch = sweep.fetches.pop(key, None) if sweep is not None else None
            self._opening[key] = _Found.NOTHING if fetch is None else _Found.UNDER_WAY
            if sweep is not None and fetch is not None:
                sweep.unread -= fetch.info.size
                self._store.counters.add(Count.AHEAD_USED, fetch.info.size)
            return fetch

    def opened(self, node: Node, info: ObjectInfo) -> None:
        """Note that a file was opened for reading; fetch the next ones of its directory."""
        parent = node.parent
        if not self._ttl or parent is None or not 0 < info.size <= self._length:
            return
        listing = self._lookup.pages.current(parent)
        if listing is None:
            return
        place = listing.place_behind(node.name) or 0
        with self._lock:
            sweep = self._of(parent, listing, place)
            sweep.opened += 1
            self._grow(sweep, self._opening.get(info.key, _Found.NOTHING))
            sweep.wraps = sweep.wraps or place < sweep.start
            sweep.at_end = False
            sweep.opened_at = time.monotonic()
        self._go_on(sweep)

    @staticmethod
    def _grow(sweep: _Sweep, found: _Found) -> None:
        """Allow more to be fetched ahead after an open that came too early."""
        if found is _Found.NOTHING:
            sweep.most = min(sweep.most + GROWTH, FILES_MOST)
        elif found is _Found.UNDER_WAY:
            sweep.most = max(sweep.most, min(2 * sweep.most, ENOUGH))

    def _of(self, parent: Node, listing: Listing, place: int) -> _Sweep:
        self._settle(self._ttl)
        sweep = self._sweeps.pop(parent.id, None) or _Sweep(listing, place, place)
        sweep.listing = listing  # the same names, or nearly, listed anew
        self._sweeps[parent.id] = sweep
        if len(self._sweeps) > SWEEPS_MOST:
            self._give_up(self._sweeps.popitem(last=False)[1])
        return sweep

    def settle(self, idle: float | None = None) -> None:
        """Count what was fetched ahead and not opened; for whoever reads the counters.

        That is final after `idle` seconds without an open in its directory: the TTL, if None.
        """
        with self._lock:
            self._settle(self._ttl if idle is None else idle)

    def _settle(self, idle: float) -> None:
        now = time.monotonic()
        while self._sweeps:
            parent, sweep = next(iter(self._sweeps.items()))
            if now - sweep.opened_at < idle:
                return
            self._give_up(self._sweeps.pop(parent))

    def _give_up(self, sweep: _Sweep) -> None:
        self._store.counters.add(Count.AHEAD_WASTED, sweep.unread)
        sweep.fetches.clear()
        sweep.opened = sweep.most = sweep.unread = 0

    def _go_on(self, sweep: _Sweep) -> None:
        """Begin as many fetches as the opens so far allow; one thread at a time does so."""
        with self._lock:
            if sweep.filling:
                return
            sweep.filling = True
        more = True
        while more:
            found = self._next(sweep) if self._has_room(sweep) else None
            with self._lock:
                # A thread that took or ended a fetch meanwhile leaves the next ones to this one.
                more = found is not None or (self._room(sweep) and not sweep.at_end)
                sweep.filling = more
                if found is not None:
                    self._begin(sweep, found)

    def _has_room(self, sweep: _Sweep) -> bool:
        with self._lock:
            return self._room(sweep)

    def _room(self, sweep: _Sweep) -> bool:
        read = sweep.opened > 1 and time.monotonic() - sweep.opened_at < IDLE
        few = sweep.running < AT_ONCE and len(sweep.fetches) < sweep.most
        return read and few and sweep.unread < BYTES_MOST

    def _begin(self, sweep: _Sweep, listed: ObjectInfo) -> None:
        sweep.running += 1
        sweep.unread += listed.size
        answer: Future[ObjectInfo | None] = self._pool.submit(self._fetch, sweep, listed)
        sweep.fetches[listed.key] = _Fetch(listed, time.monotonic(), answer)

    def _next(self, sweep: _Sweep) -> ObjectInfo | None:
        """Return the next file worth fetching in the pages so far; None at their end."""
        while sweep.position // PAGE_MOST < sweep.listing.pages:
            step = next(sweep.listing.steps(sweep.position, 1), None)
            if step is None:
                break
            sweep.position, info = step[0], step[3].info
            if info is not None and self._is_worth_it(sweep, info):
                return info
        if sweep.wraps and sweep.start:
            sweep.start = sweep.position = 0
            return self._next(sweep)
        sweep.at_end = True
        return None

    def _is_worth_it(self, sweep: _Sweep, info: ObjectInfo) -> bool:
        if not 0 < info.size <= self._length or info.storage_class not in READY_CLASSES:
            return False
        key, opening = info.key, self._opening
        if key in sweep.fetches or key in opening or self._lookup.first.is_asked(key):
            return False
        return not self._cache.peek(key, info.etag)

    def _fetch(self, sweep: _Sweep, listed: ObjectInfo) -> ObjectInfo | None:
        info: ObjectInfo | None = None
        with bulkhead("fetching a file ahead", key=listed.key):
            try:
                start = self._store.get_start(listed.key, self._length, whole=True)
            except FsError:  # the open requests it again and gets its own error
                start = None
            if start is not None and start[0].size <= self._length:
                info, head = start
                self._lookup.remember(info)
                if len(head) == info.size:
                    self._cache.store(info.key, info.etag, head)
        with self._lock:
            sweep.running -= 1
            if info is None and sweep.fetches.pop(listed.key, None) is not None:
                sweep.unread -= listed.size
        self._go_on(sweep)
        return info


def _come(fetch: _Fetch) -> ObjectInfo | None:
    if not fetch.answer.done():
        waits()
    try:
        return fetch.answer.result()
    except CancelledError:  # the mount ends
        return None
