"""One LIST of one directory, read page by page, with our own changes on top.

A listing keeps S3's order and only grows, so a position in it is a cookie that stays good: a
stream returns each name at most once, whatever is created or removed meanwhile. Pages that memory
has no room for are dropped and listed again, from the key before them, when a stream needs them;
a lookup doesn't. It knows nothing of nodes or attributes.

A store whose LIST has no order (`store.sorted`) is listed whole first, and sorted.

Any thread. `_loading` is held over a LIST so that each page is asked for once; `_lock` guards
the pages and our changes, and only `PageMemory`'s is taken under it.
"""

import heapq
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from fusefs import keys, locks, waiting
from fusefs.locks import Rank
from fusefs.names.pagememory import PageMemory, Slot
from fusefs.names.pagerows import shown_rows, with_rows
from fusefs.names.pages import HIDDEN, PAGE_MOST, Entry, PageRows, Row, name_of, order, raw
from fusefs.names.pagetable import PageTable
from fusefs.names.walks import WalkedPage
from fusefs.objects import ObjectInfo, Page
from fusefs.s3.store import Store

__all__ = ["Entry", "Listing"]

log = logging.getLogger(__name__)

# With more changes of our own a listing isn't worth keeping: they take much more than its pages.
OWN_MOST = 4096
# A removed name may still come with a LIST that was under way; S3 forgets it at once.
REMOVED_MOST = 4096
# The last key that can begin with a directory's: a LIST behind it has the directory no more.
LAST = "\U0010ffff"
UNLIMITED = 1 << 62


class Listing:
    """The names under one prefix (ending in `/`, or empty for a whole bucket).

    `behind` begins it in the middle, behind that key: then it is never `complete`.
    """

    __slots__ = (
        "_extra", "_loading", "_lock", "_memory", "_own", "_removed", "_store", "_successor",
        "_table", "_token", "_unshown", "behind", "ended", "for_lookups", "marker", "prefix",
        "scan", "sent_ahead", "started", "tells_missing", "walked",
    )  # fmt: skip

    def __init__(
        self, store: Store, prefix: str, memory: PageMemory | None = None, behind: str = ""
    ) -> None:
        self.prefix = prefix
        self.behind = behind
        self.started = time.monotonic()
        self.tells_missing = True  # as long as an answer for one name would
        self.for_lookups = False  # made by `firstpages`: a stream that is opened lists anew
        # Gives what a walk has listed of it already, in place of its own LIST.
        self.walked: Callable[[str], WalkedPage | None] | None = None
        self.marker: ObjectInfo | None = None
        # `headsahead`'s: where attributes are asked for in its order, and how far ahead.
        self.scan = (-1, 0)
        self.sent_ahead = 0  # the position up to which they were asked for
        self._store = store
        self._memory = memory or PageMemory(UNLIMITED)
        self._token: str | None = None
        self.ended = False  # read to its end
        self._table = PageTable(prefix, self._memory, behind, overlapping=False)
        self._own: dict[str, Entry] = {}
        self._extra: dict[str, str] = {}  # own names that are in no page, each with its key
        self._removed: dict[str, None] = {}
        self._successor: Listing | None = None
        self._unshown = 0
        self._lock = locks.lock(Rank.LISTING)
        self._loading = locks.lock(Rank.LOADING)

    @classmethod
    def empty(cls, store: Store, prefix: str, memory: PageMemory | None = None) -> "Listing":
        """Return the listing of a directory that we made just now."""
        made = cls(store, prefix, memory)
        made._append([], last=True)
        return made

    @property
    def complete(self) -> bool:
        """Whether a name that isn't in it isn't there: it was read to its end, and all is kept."""
        return self.ended and not self.behind and self._table.all_kept

    @property
    def pages(self) -> int:
        """How many pages were read."""
        return len(self._table.slots)

    @property
    def names(self) -> int:
        """How many names the pages had."""
        return sum(slot.rows for slot in self._table.slots)

    def covers(self, name: str) -> bool:
        """Say whether a name that isn't in it isn't there: the page that would have it is kept."""
        if self.complete:
            return True
        with self._lock:
            return not self.behind and self._table.covers(name)

    # -- one name --------------------------------------------------------------------------------

    def get(self, name: str) -> Entry | None:
        """Return the entry of a name, None where there is none (yet: see `complete`)."""
        with self._lock:
            own = self._own.get(name)
            if own is not None:
                return own
            found = self._table.row_of(name)
            if found is None or found[1].flags[found[2]] & HIDDEN:
                return None
            return found[1].entry(found[2], self.prefix)

    def put(self, name: str, entry: Entry) -> bool:
        """We created or changed `name`: that is newer than anything a LIST brings.

        Returns False where so much of it is our own by now that it isn't worth keeping.
        """
        with self._lock:
            self._removed.pop(name, None)
            self._own[name] = entry
            found = None if name in self._extra else self._table.row_of(name)
            if found is None:
                self._extra[name] = name + "/" if entry.directory else name
            else:
                found[1].flags[found[2]] &= ~HIDDEN
            successor = self._successor
        if successor is not None:
            successor.put(name, entry)
        return len(self._own) <= OWN_MOST

    def remove(self, name: str) -> None:
        """We removed `name`."""
        with self._lock:
            self._own.pop(name, None)
            self._extra.pop(name, None)
            self._removed[name] = None
            if len(self._removed) > REMOVED_MOST:
                del self._removed[next(iter(self._removed))]
            for key in (name, name + "/", name + keys.FOLDER_SUFFIX):
                found = self._table.row(key)
                if found is not None:
                    found[1].flags[found[2]] |= HIDDEN
            successor = self._successor
        if successor is not None:
            successor.remove(name)

    def has_key(self, key: str) -> bool:
        """Say whether it has this very key, below its prefix."""
        with self._lock:
            return self._table.row(key) is not None

    def position(self, name: str, after: int) -> int | None:
        """Return where `name` is if it is within the few places after `after`."""
        with self._lock:
            return self._table.position(name, after)

    def window(self, start: int, count: int) -> list[tuple[str, Entry]]:
        """Return the entries at the next `count` positions from `start` on that are there."""
        with self._lock:
            found = self._table.entries(start, count)
            return [(name, self._own.get(name) or entry) for name, entry in found]

    # -- all names -------------------------------------------------------------------------------

    def place_behind(self, key: str) -> int | None:
        """Return the position behind a key; None where a LIST from there finds it sooner."""
        if not self._store.sorted:
            self.load()
        with self._lock:
            number = self._table.page_of(key)
            if number < len(self._table.slots):
                content = self._table.slots[number].content
                return None if content is None else number * PAGE_MOST + content.after(key)
            return number * PAGE_MOST if self.ended else None

    def steps(
        self, position: int, want: int, last_key: str | None = None
    ) -> Iterator[tuple[int, str, str, Entry]]:
        """Yield up to `want` times the position behind an entry, its key, its name, and itself.

        `last_key` is the key before `position`: the place in a page that was listed anew meanwhile.
        """
        number, row = divmod(position, PAGE_MOST)
        while want > 0:
            content = self._content(number)
            if content is None:
                return
            rows = self._table.slots[number].rows
            if row and last_key is not None:
                row = content.after(last_key)
            elif row and rows != len(content):
                row = max(0, row - abs(rows - len(content)))  # rather twice than never
            with self._lock:
                found = list(self._shown(number, content, row, want))
            yield from found
            want -= len(found)
            number, row = number + 1, 0

    def _shown(
        self, number: int, content: PageRows, row: int, want: int
    ) -> Iterator[tuple[int, str, str, Entry]]:
        for at in range(row, len(content)):
            if not want:
                return
            if content.flags[at] & HIDDEN:
                continue
            want -= 1
            key = content.key(at)
            name = name_of(key)[0]
            entry = self._own.get(name) or content.entry(at, self.prefix)
            yield number * PAGE_MOST + at + 1, key, name, entry

    def _content(self, number: int) -> PageRows | None:
        """Return the content of a page, asked for where that is needed; None behind the last."""
        self.load(number)
        if number >= len(self._table.slots):
            return None
        slot = self._table.slots[number]
        content = slot.content
        if content is None:
            waiting.waits_if_held(self._loading)
            with self._loading:
                content = slot.content or self._again(number, slot)
        self._memory.touch(slot)
        return content

    # -- pages -----------------------------------------------------------------------------------

    def load(self, more_than: int | None = None) -> None:
        """Ask for pages until there are more than `more_than`, or (None) for all."""
        most = float("inf") if more_than is None else more_than
        if len(self._table.slots) > most:
            return
        waiting.waits_if_held(self._loading)
        with self._loading:
            while not self.ended and len(self._table.slots) <= most:
                self._page()

    def _page(self) -> None:
        if not self._store.sorted:
            self._whole()
            return
        page = self._walked_page() or self._ask(self._token, self.behind)
        rows = self._rows(page)
        with self._lock:
            # Some stores return a directory again where a page ends in the middle of it.
            bound, first, old = self._table.bound, raw(self.behind), self._table.row
            keys_of = [(raw(row[0]), row) for row in rows]
            rows = [row for key, row in keys_of if key > bound or (key > first and not old(row[0]))]
            self._token = page.next_token
            self._append(rows, last=page.next_token is None)

    def _walked_page(self) -> Page | None:
        begun = bool(self.behind or self._table.slots)
        found = self.walked(self.prefix) if self.walked is not None and not begun else None
        self.started = min(self.started, found.asked) if found is not None else self.started
        return found.page if found is not None else None

    def _ask(self, token: str | None, behind: str) -> Page:
        if behind and token is None:
            after = self.prefix + behind + (LAST if behind.endswith("/") else "")
            return self._store.list_page(self.prefix, after=after)
        return self._store.list_page(self.prefix, token=token)

    def _rows(self, page: Page) -> list[Row]:
        """Return what can be shown of an answer."""
        found = shown_rows(page, self.prefix)
        self.marker = found.marker or self.marker
        self._unshown += found.unshown
        return found.rows

    def _whole(self) -> None:
        """Read a LIST without order to its end, and sort it; compact at all times."""
        parts: list[PageRows] = []
        token, more = None, True
        while more:
            page = self._ask(token, "")
            parts.append(PageRows(self._rows(page)))
            token = page.next_token
            more = token is not None
        rows: list[Row] = []
        with self._lock:
            for row in heapq.merge(*(part.rows(self.prefix) for part in parts), key=order):
                if len(rows) == PAGE_MOST:
                    self._append(rows, last=False)
                    rows = []
                if not rows or rows[-1][0] != row[0]:
                    rows.append(row)
            self._append(rows, last=True)
            for slot in self._table.slots:
                slot.kept = True  # there is no asking for a range of it

    def _append(self, rows: list[Row], *, last: bool) -> None:
        """Take over the next rows, with what we made in between."""
        first = self._table.bound
        bound = None if last else max(first, raw(rows[-1][0]) if rows else b"")
        self._table.add(self._with_extra(rows, first, bound), self._removed)
        self.ended = last
        if last and self._unshown:
            log.info(
                "keys that can't be shown as names are left out",
                extra={"prefix": self.prefix, "keys": self._unshown},
            )

    def _with_extra(self, rows: list[Row], first: bytes, bound: bytes | None) -> list[Row]:
        """Add the names we made that sort behind `first` up to `bound` (None: all), once each."""
        if not self._extra:
            return rows
        there = {name_of(key)[0] for key, _ in rows}
        added: list[Row] = []
        for name, key in list(self._extra.items()):
            if name in there:
                del self._extra[name]
            elif raw(key) > first and (bound is None or raw(key) <= bound):
                del self._extra[name]
                added.append(self._row(name, key))
        return sorted(rows + added, key=order)

    def _row(self, name: str, key: str) -> Row:
        if key.endswith("/"):
            return key, None
        return key, self._own[name].info or ObjectInfo(self.prefix + key, 0, "", 0.0)

    def _again(self, number: int, slot: Slot) -> PageRows:
        """List the range of a page again that was dropped."""
        first, bound = self._table.range_of(number)
        last = self.ended and number == len(self._table.slots) - 1
        rows: list[Row] = []
        token, more = None, True
        while more:
            page = self._ask(token, first.decode("utf-8", "surrogatepass"))
            rows += [row for row in self._rows(page) if raw(row[0]) > first]
            token = page.next_token
            more = token is not None and (last or not rows or raw(rows[-1][0]) < bound)
        with self._lock:
            for name, entry in self._own.items():  # what isn't in S3 yet went with the page
                if self._table.row_of(name) is None:
                    self._extra[name] = name + "/" if entry.directory else name
            inside = [row for row in rows if last or raw(row[0]) <= bound]
            slot.content = content = PageRows(
                self._with_extra(inside, first, None if last else bound)
            )
            self._table.fill(number, self._removed)
            return content

    # -- our own changes in their places ---------------------------------------------------------

    def merged(self) -> "Listing":
        """Return a listing with what we made at its place among the rest; itself if it is so.

        Pages without a change are shared. Streams that read this one go on with it; what we do
        from now on goes to both.
        """
        with self._loading, self._lock:
            if not self._extra:
                return self
            made = Listing(self._store, self.prefix, self._memory, self.behind)
            made.started, made.marker = self.started, self.marker
            made._token, made.ended = self._token, self.ended
            made._removed, made._own = dict(self._removed), dict(self._own)
            made._extra = dict(self._extra)
            made._table.overlapping = self._table.overlapping
            changed: dict[int, list[str]] = defaultdict(list)
            for name, key in self._extra.items():
                changed[self._page_of(key)].append(name)
            for number, slot in enumerate(self._table.slots):
                bound = self._table.range_of(number)[1]
                made._take_over(slot, bound, changed.get(number, []))
            self._successor = made
            return made

    def _page_of(self, key: str) -> int:
        number = self._table.page_of(key)
        return number - 1 if self.ended and number == len(self._table.slots) else number

    def _take_over(self, slot: Slot, bound: bytes, names: list[str]) -> None:
        """Make a page of another listing ours, with names of our own in it."""
        content = slot.content
        if content is None or not names:
            # What is dropped is listed again, and then has what reached S3 meanwhile.
            self._table.share(slot, bound)
            return
        added = [self._row(name, self._extra.pop(name)) for name in names]
        pages = with_rows(content, added, self.prefix)
        for page in pages:
            end = page.raw_key(len(page) - 1)
            fresh = Slot(page)
            self._table.share(fresh, max(end, bound) if page is pages[-1] else end)
            self._memory.filled(fresh)
