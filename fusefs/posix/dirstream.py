"""One open directory: its entries in S3's order, with cookies that stay good.

A cookie is a position in the listing the stream reads. A stream can go on in another process, too:
there the listing begins behind the last key that was returned. Names that come into being while the
stream is open may be missing from it, as POSIX allows; none is returned twice.

Threading: the kernel asks one stream from one thread at a time; `Listing` locks for itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from fusefs.interface import DirEntry
from fusefs.names.listing import Entry, Listing
from fusefs.names.pages import PAGE_MOST

DOTS = 2  # the cookies of `.` and `..` are 1 and 2

HALF = 500  # names: half of a page of S3's

Answer = dict[int, str]  # cookies, and the keys returned with them


class DirStream:
    """A stream over a listing that `acquire` gives: from a directory's beginning, or behind a key.

    `answer` is the last one of a former process.
    """

    def __init__(self, acquire: Callable[[str], Listing], answer: Mapping[int, str] | None = None):
        self._acquire = acquire
        self._answers: list[Answer] = [{}, dict(answer or {})]
        self.listing: Listing | None = None  # once a name was read
        self._asked = 0  # the page that was returned by `page_ahead` last
        self._position = 0  # in the listing, behind what was returned last
        self._base = 0  # pages before the listing's first: cookies of before stay theirs

    def read(self, offset: int, want: int) -> list[tuple[str, Entry, int, str]]:
        """Return up to `want` entries behind cookie `offset`, each with its cookie and key."""
        listing, position, key = self._place(offset)
        base = self._base * PAGE_MOST + DOTS
        found = [
            (name, entry, base + place, key)
            for place, key, name, entry in listing.steps(position, want, key)
        ]
        self._position = found[-1][2] - base if found else position
        # The kernel may ask again from any entry of an answer, and for the one before.
        self._answers = [self._answers[-1], {cookie: key for *_, cookie, key in found}]
        return found

    def page_ahead(self) -> tuple[Listing, int] | None:
        """Return the listing and the number of its next page, where that is to be requested now.

        Once half of the first page was read, and of a later page any name: such a reader reads on.
        None where there is no other page, or it was returned before.
        """
        listing = self.listing
        if listing is None or listing.ended or listing.pages <= self._asked:
            return None
        if self._position < (HALF if listing.pages == 1 else (listing.pages - 1) * PAGE_MOST):
            return None
        self._asked = listing.pages
        return listing, listing.pages

    def _place(self, offset: int) -> tuple[Listing, int, str | None]:
        """Return the listing, the position in it, and the key before that where it is known."""
        if offset <= DOTS:
            self._base = 0
            self._asked = 0
            self.listing = self._acquire("")
            return self.listing, 0, None
        position = offset - DOTS - self._base * PAGE_MOST
        if self.listing is not None and position >= 0:
            return self.listing, position, self._key_of(offset)
        return self._go_on(offset)

    def _go_on(self, offset: int) -> tuple[Listing, int, str | None]:
        """Go on behind what a former process returned."""
        known = {0: "", **self._answers[0], **self._answers[1]}
        key = known[max(cookie for cookie in known if cookie <= offset)]
        listing = self.listing = self._acquire(key)
        self._base = max(offset, *known) // PAGE_MOST + 1
        position = 0 if listing.behind == key else listing.place_behind(key)
        return listing, position or 0, None

    def _key_of(self, offset: int) -> str | None:
        return self._answers[1].get(offset) or self._answers[0].get(offset)


def dots(offset: int, mode: int, inodes: Sequence[int]) -> Iterator[DirEntry]:
    """Yield the entries of `.` and `..`, of these inodes, that lie behind `offset`."""
    for cookie, (name, inode) in enumerate(zip((".", ".."), inodes, strict=True), 1):
        if offset < cookie:
            yield DirEntry(name, mode, cookie, inode=inode)
