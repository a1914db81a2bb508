"""Walks of a directory tree (`find`, `rm -r`): one LIST returns the content of many directories.

When the second directory of a parent is listed soon after the first, one LIST without a delimiter
continues from there, a thousand keys at a time. Its pages hold the content of the next directories,
at any depth. A directory that isn't complete within a few pages is listed by itself.

Not here: listings (`listing`), which take a page from here in place of their first LIST.

Any thread; `_lock` guards the walks; the `_loading` of a walk is held during its LIST.
"""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile, islice

from fusefs import locks
from fusefs.errors import AccessDenied, FsError
from fusefs.locks import Rank
from fusefs.objects import ObjectInfo, Page
from fusefs.recent import Recent
from fusefs.s3.store import Store
from fusefs.waiting import waits, waits_if_held

log = logging.getLogger(__name__)

# Sorts after each key of a directory, and before those of the next.
LAST = "\U0010ffff"
# Seconds between listing two directories of a parent that begin a walk; and for which a page of a
# walk is valid: no program has seen it yet, so it isn't trusted as long as a listing that was read.
TOGETHER = 10.0
TRUST = 5.0
# A directory that takes more pages is listed by itself, its subdirectories later.
PAGES_MOST = 4
# A walk ends when so many directories in a row had to be listed by themselves.
FAILURES_MOST = 2
GIVEN_UP = 60.0  # seconds for which the parent's directories are then listed one by one
PARENTS, WALKS = 256, 4


@dataclass(frozen=True, slots=True)
class WalkedPage:
    """The page that a directory's own LIST would return, and when it was requested.

    `asked`: monotonic seconds.
    """

    page: Page
    asked: float


@dataclass(frozen=True, slots=True)
class _Flat:
    """One page of a LIST without delimiter."""

    objects: tuple[ObjectInfo, ...]
    asked: float


class _Walk:
    """The keys below one prefix that follow those of the directory `behind`, loaded on demand.

    Not every store sorts as S3 does, but in all of them the keys of a directory are consecutive. So
    pages answer for a directory only where they hold a key of it, and a key that follows its last.
    """

    def __init__(self, store: Store, pool: Executor, prefix: str, behind: str) -> None:
        self._pool = pool
        self._next: Future[tuple[float, Page]] | None = None  # a page that is requested ahead
        self.prefix = prefix
        self.failures = 0
        self.ended = False  # its keys are too old, or not what S3 would return
        self._store = store
        self._behind = behind
        self._pages: list[_Flat] = []
        self._dropped = ""  # the last key of the pages that the walk has passed
        self._token: str | None = None
        self._all = False
        self._loading = locks.lock(Rank.WALK)

    def take(self, prefix: str) -> WalkedPage | None:
        """Return the content of a directory; None where the walk can't or needs too many pages."""
        waits_if_held(self._loading)
        with self._loading:
            self._drop(prefix)
            if self._dropped >= prefix:
                return None  # its first keys may be gone
            for _ in range(PAGES_MOST):
                if self.ended:
                    return None
                if self._covers(prefix):
                    self.failures = 0
                    self._request_next(prefix)
                    return self._page(prefix)
                if self._all:
                    break
                self._load()
            self.failures += 1
            return None

    def lacks(self, key: str) -> bool:
        """Return whether the pages hold keys of a directory but no marker; sends no request."""
        pages, dropped = list(self._pages), self._dropped
        below = [info.key for page in pages for info in page.objects if info.key.startswith(key)]
        if not below or key in below or dropped >= key:
            return False
        asked = pages[0].asked
        fresh = time.monotonic() - asked < TRUST
        return fresh and not self._store.changes.overtook(key, asked)

    def _drop(self, prefix: str) -> None:
        """Drop pages before `prefix`; end a walk whose pages are too old."""
        while len(self._pages) > 1 and self._pages[0].objects[-1].key < prefix:
            self._dropped = self._pages[0].objects[-1].key  # before: `lacks` holds no lock
            del self._pages[0]
        now = time.monotonic()
        self.ended = self.ended or any(now - page.asked > TRUST for page in self._pages)

    def onwards(self, prefix: str, count: int) -> list[ObjectInfo]:
        """Return the next `count` objects from a directory's first on; sends no request."""
        objects = (info for page in list(self._pages) for info in page.objects)
        return list(islice(dropwhile(lambda info: not info.key.startswith(prefix), objects), count))

    def _request_next(self, prefix: str) -> None:
        """Request the next page where a directory is in the second half of the last one."""
        last = self._pages[-1].objects
        if self._next is None and not self._all and last[len(last) // 2].key < prefix + LAST:
            with suppress(FsError):  # the mount is ending
                self._next = self._pool.submit(self._ask)

    def _load(self) -> None:
        asked, answer = self._requested() or self._ask()
        self._token = answer.next_token
        self._all = answer.next_token is None
        if answer.objects:
            self._pages.append(_Flat(answer.objects, asked))
        elif not self._all:
            self.ended = True  # not how S3 answers

    def _requested(self) -> tuple[float, Page] | None:
        """Return the page that was requested ahead; None without one, or where it is too old.

        One whose turn in the pool hasn't come isn't waited for: all its threads may wait for us.
        """
        requested, self._next = self._next, None
        if requested is not None and not requested.cancel():
            with suppress(FsError):  # whoever needs the page gets the error of its own request
                waits()
                asked, answer = requested.result()
                if time.monotonic() - asked < TRUST:
                    return asked, answer
        return None

    def _ask(self) -> tuple[float, Page]:
        """Request the page that follows; return it, and when it was requested."""
        asked = time.monotonic()
        after = None if self._pages else self._behind + LAST
        return asked, self._store.list_page(self.prefix, "", self._token, after=after)

    def _covers(self, prefix: str) -> bool:
        """Return whether the pages hold keys below a prefix, and where those end."""
        seen = any(info.key.startswith(prefix) for info in self._objects())
        return seen and (self._all or not self._pages[-1].objects[-1].key.startswith(prefix))

    def _page(self, prefix: str) -> WalkedPage | None:
        asked = self._pages[0].asked
        if self._store.changes.overtook_below(prefix, asked):
            return None
        objects: list[ObjectInfo] = []
        below: dict[str, None] = {}
        for info in self._objects():
            if info.key.startswith(prefix):
                name, slash, _ = info.key[len(prefix) :].partition("/")
                if slash:
                    below[f"{prefix}{name}/"] = None
                else:
                    objects.append(info)
        return WalkedPage(Page(tuple(objects), tuple(below)), asked)

    def _objects(self) -> Iterator[ObjectInfo]:
        for page in self._pages:
            yield from page.objects


class Walks:
    """The walks of one mount; none begins without `enabled`. `pool` requests pages ahead."""

    def __init__(self, store: Store, pool: Executor, *, enabled: bool = True) -> None:
        self._store = store
        self._pool = pool
        self._enabled = enabled and store.sorted
        self._first: Recent[str, tuple[str, float]] = Recent(PARENTS)  # by parent
        self._walks: Recent[str, _Walk] = Recent(WALKS)
        self._refused_until = 0.0  # monotonic
        self._lock = locks.lock(Rank.LEAF)

    def page(self, prefix: str) -> WalkedPage | None:
        """Return the content of a directory that is being listed now, if a walk covers it.

        The caller applies this mount's own changes from now on to it.
        """
        if not self._enabled or time.monotonic() < self._refused_until:
            return None
        walk = self._walk_to(prefix)
        if walk is None:
            return None
        try:
            page = walk.take(prefix)
        except AccessDenied as error:  # a policy may allow LISTs with a delimiter only
            log.info("a walk is refused", extra={"prefix": prefix, "error": str(error)})
            self._refused_until = time.monotonic() + GIVEN_UP
            page, walk.failures = None, FAILURES_MOST
        if walk.failures >= FAILURES_MOST or walk.ended:
            until = time.monotonic() + (0 if walk.ended else GIVEN_UP)
            with self._lock:
                self._walks.pop(walk.prefix, None)
                self._first[_parent(prefix) if walk.ended else walk.prefix] = prefix, until
        return page

    def lacks(self, key: str) -> bool:
        """Return whether a walk shows that the key doesn't exist; sends no request."""
        return any(walk.lacks(key) for walk in list(self._walks.values()))

    def onwards(self, prefix: str, count: int) -> list[ObjectInfo]:
        """Return up to `count` objects from a directory's first on, as far as a walk listed them.

        Sends no request; none where no walk listed that directory.
        """
        found = (walk.onwards(prefix, count) for walk in list(self._walks.values()))
        return next((objects for objects in found if objects), [])

    def _walk_to(self, prefix: str) -> _Walk | None:
        """Note that a directory is listed; return the walk that will reach it, maybe a new one."""
        parent, now = _parent(prefix), time.monotonic()
        with self._lock:
            for walk in self._walks.values():
                if prefix != walk.prefix and prefix.startswith(walk.prefix):
                    return walk
            before, at = self._first.get(parent, (prefix, 0.0))
            self._first[parent] = prefix, max(now, at)
            if before >= prefix or not 0 <= now - at <= TOGETHER:
                return None
            self._walks[parent] = made = _Walk(self._store, self._pool, parent, before)
            return made


def _parent(prefix: str) -> str:
    above, slash, _ = prefix[:-1].rpartition("/")
    return above + slash
