"""One LIST of one directory, read page by page, with our own changes on top.

A listing keeps S3's order and only grows, so a position in it is a cookie that stays good: a
stream tells each name at most once, whatever is created or removed meanwhile. It knows nothing of
nodes or attributes.

Any thread. `_loading` is held over a LIST so that each page is asked for once; `_lock` guards the
entries and is a leaf.
"""

import logging
import time
from dataclasses import dataclass

from fusefs import keys, locks
from fusefs.locks import Rank
from fusefs.objects import ObjectInfo
from fusefs.s3.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory: a directory (`info` is None), or an object."""

    directory: bool
    info: ObjectInfo | None = None


class Listing:
    """The names under one prefix (ending in `/`, or empty for a whole bucket)."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.prefix = prefix
        self.started = time.monotonic()
        self.marker: ObjectInfo | None = None
        self.complete = False
        # Where attributes are being asked for in its order, and how far ahead: `lookup`'s, one
        # value that is replaced as a whole, so a race costs a guess and nothing else.
        self.scan = (-1, 0)
        self._store = store
        self._token: str | None = None
        self._names: list[str] = []
        self._entries: dict[str, Entry | None] = {}
        self._own: set[str] = set()
        self._folders: set[str] = set()  # directories with a marker of Hadoop's form
        self._hidden = 0
        self._lock = locks.lock(Rank.LEAF)
        self._loading = locks.lock(Rank.LOADING)

    @classmethod
    def empty(cls, store: Store, prefix: str) -> "Listing":
        """Return the listing of a directory that we made just now."""
        made = cls(store, prefix)
        made.complete = True
        return made

    def get(self, name: str) -> Entry | None:
        """Return the entry of a name, None where there is none (yet: see `complete`)."""
        return self._entries.get(name)

    def put(self, name: str, entry: Entry) -> None:
        """We created or changed `name`: that is newer than anything a LIST brings."""
        with self._lock:
            self._own.add(name)
            self._place(name, entry)

    def remove(self, name: str) -> None:
        """We removed `name`."""
        with self._lock:
            self._own.add(name)
            if name in self._entries:
                self._entries[name] = None
            else:
                self._place(name, None)

    @property
    def changed(self) -> bool:
        """Whether we changed something in it, so that it isn't just what S3 told."""
        return bool(self._own)

    @property
    def sorted(self) -> bool:
        """Whether pages come in the order of names."""
        return self._store.sorted

    def is_own(self, name: str) -> bool:
        """Say whether we made or removed `name` since the listing began."""
        return name in self._own

    def has_folder_marker(self, name: str) -> bool:
        """Say whether a directory has a marker of the form `NAME_$folder$`, as Hadoop writes."""
        return name in self._folders

    def names(self) -> list[str]:
        """Return all names so far that are there."""
        with self._lock:
            return [name for name in self._names if self._entries[name] is not None]

    def position(self, name: str, after: int) -> int | None:
        """Return where `name` is if it is within the few places after `after`."""
        with self._lock:
            try:
                return self._names.index(name, after, after + 64)
            except ValueError:
                return None

    def window(self, start: int, count: int) -> list[tuple[str, Entry]]:
        """Return the entries at positions `start` to `start + count` that are there."""
        with self._lock:
            found = []
            for name in self._names[start : start + count]:
                entry = self._entries[name]
                if entry is not None:
                    found.append((name, entry))
            return found

    def step(self, position: int) -> tuple[int, str, Entry] | None:
        """Return the next entry from `position` on and the position after it; None at the end."""
        while True:
            with self._lock:
                while position < len(self._names):
                    name = self._names[position]
                    entry = self._entries[name]
                    position += 1
                    if entry is not None:
                        return position, name, entry
                if self.complete:
                    return None
            self.load(position)

    def load(self, more_than: int | None = None) -> None:
        """Ask for pages until there are more than `more_than` names, or (None) for all."""
        with self._loading:
            while not self.complete:
                if more_than is not None and len(self._names) > more_than:
                    return
                self._page()

    def _page(self) -> None:
        page = self._store.list_page(self.prefix, token=self._token)
        with self._lock:
            # Both are sorted; merging keeps S3's order, in which `a-b` comes before `a/`.
            both: list[tuple[str, ObjectInfo | None]] = [(o.key, o) for o in page.objects]
            both += [(prefix, None) for prefix in page.prefixes]
            both.sort(key=lambda item: item[0])
            for key, info in both:
                self._add(key, info)
            self._token = page.next_token
            self.complete = page.next_token is None
        if self.complete and self._hidden:
            log.info(
                "keys that can't be shown as names are left out",
                extra={"prefix": self.prefix, "keys": self._hidden},
            )

    def _add(self, key: str, info: ObjectInfo | None) -> None:
        if key == self.prefix:
            self.marker = info
            return
        name = key[len(self.prefix) :]
        if name.endswith("/"):
            name, info = name[:-1], None
        folder = keys.as_directory(name) if info is not None else None
        if folder is not None:
            name, info = folder, None
            self._folders.add(folder)
        if not keys.shown(name):
            self._hidden += 1
            return
        if name in self._own:
            return
        was = self._entries.get(name)
        if was is not None and was.directory:
            # A directory hides a file of the same name: its content must stay reachable.
            return
        self._place(name, Entry(info is None, info))

    def _place(self, name: str, entry: Entry | None) -> None:
        if name not in self._entries:
            self._names.append(name)
        self._entries[name] = entry
