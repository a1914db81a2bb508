"""One open directory: its entries in a fixed order, with cookies that stay good.

The order is S3's (a directory sorts as `name/`), made here where a store has none, so a stream can
go on in another process, where the listing is read anew: it continues behind the last name it told.
Names that come into being while the stream is open may be missing from it, as POSIX allows; none is
told twice.

Threading: the kernel asks one stream from one thread at a time; `Listing` locks for itself.
"""

from collections.abc import Callable, Iterator

from fusefs.interface import DirEntry
from fusefs.names.listing import Entry, Listing

DOTS = 2  # the cookies of `.` and `..` are 1 and 2


def order(name: str, directory: bool) -> str:
    """Return what S3 sorts a name by."""
    return name + "/" if directory else name


class DirStream:
    """A stream over what `listing()` returns when it starts, and again when it is rewound."""

    def __init__(self, listing: Callable[[], Listing], told: dict[int, str] | None = None) -> None:
        self._acquire = listing
        self._told = {0: "", **(told or {})}
        self._listing: Listing | None = None
        self._names: list[str] | None = None  # None: follow the listing page by page
        self._base = DOTS

    def step(self, offset: int, want: int) -> Iterator[tuple[str, Entry, int]]:
        """Yield up to `want` entries behind cookie `offset`, with their own cookies."""
        if self._listing is None or offset <= DOTS:
            self._start(offset)
        assert self._listing is not None  # noqa: S101 - _start sets it
        if self._names is None:
            yield from self._follow(self._listing, offset, want)
            return
        for index in range(offset - self._base, len(self._names)):
            entry = self._listing.get(self._names[index])
            if entry is not None:
                yield self._names[index], entry, self._base + index + 1
                want -= 1
                if not want:
                    return

    def _start(self, offset: int) -> None:
        listing = self._listing = self._acquire()
        self._base, self._names = DOTS, None
        if offset > DOTS:
            listing.load()
            last = self._told[max((told for told in self._told if told <= offset), default=0)]
            self._base = offset
            self._names = [name for key, name in _sorted(listing) if key > last]
        elif listing.complete or listing.changed or not listing.sorted:
            listing.load()
            self._names = [name for _, name in _sorted(listing)]

    @staticmethod
    def _follow(listing: Listing, offset: int, want: int) -> Iterator[tuple[str, Entry, int]]:
        position = max(0, offset - DOTS)
        while want:
            found = listing.step(position)
            if found is None:
                return
            position, name, entry = found
            if not listing.is_own(name):
                yield name, entry, position + DOTS
                want -= 1


def _sorted(listing: Listing) -> list[tuple[str, str]]:
    found = []
    for name in listing.names():
        entry = listing.get(name)
        if entry is not None:
            found.append((order(name, entry.directory), name))
    found.sort()
    return found


def dots(offset: int, mode: int) -> Iterator[DirEntry]:
    """Yield the entries of `.` and `..` that lie behind `offset`."""
    for cookie, name in enumerate((".", ".."), 1):
        if offset < cookie:
            yield DirEntry(name, mode, cookie)
