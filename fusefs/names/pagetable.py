"""The pages of one listing in their order, and where in them a key or a name is.

A position is a page's number times `PAGE_MOST` plus a row; it stays good while pages are added.
Pages are in S3's order unless `overlapping` says that a store's aren't (SeaweedFS sorts `a/` before
`a-b`): then they are kept, and names looked for in all of them. Not here: requests, and our own
changes (`listing`).

Threading: none of its own; every call is made under the lock of the listing that owns the table.
"""

from bisect import bisect_left
from collections.abc import Container, Iterable, Sequence

from fusefs import keys
from fusefs.names.pagememory import PageMemory, Slot
from fusefs.names.pages import DIRECTORY, HIDDEN, PAGE_MOST, Entry, PageRows, Row, name_of, raw

NEARBY = 64  # how far behind the last name of a scan its next one may be

Place = tuple[int, PageRows, int]  # page, its content, row


class PageTable:
    """Pages behind the key `behind`; `memory` may drop their content."""

    __slots__ = ("_behind", "_bounds", "_memory", "overlapping", "prefix", "slots")

    def __init__(self, prefix: str, memory: PageMemory, behind: str, *, overlapping: bool) -> None:
        self.prefix = prefix
        self.slots: list[Slot] = []
        self.overlapping = overlapping
        self._memory = memory
        self._behind = raw(behind)
        self._bounds: list[bytes] = []  # the last key up to each page's end: it never falls

    @property
    def all_kept(self) -> bool:
        """Whether the content of all pages is there."""
        return all(slot.content is not None for slot in self.slots)

    def range_of(self, number: int) -> tuple[bytes, bytes]:
        """Return the keys between which a page's are: behind the first, up to the last."""
        return self._bounds[number - 1] if number else self._behind, self._bounds[number]

    @property
    def bound(self) -> bytes:
        """The last key of all pages."""
        return self._bounds[-1] if self._bounds else self._behind

    # -- pages -----------------------------------------------------------------------------------

    def add(self, rows: Sequence[Row], removed: Container[str]) -> None:
        """Add rows behind all others: as one page, or more where they don't fit."""
        if rows and self._bounds and raw(rows[0][0]) <= self.bound:
            self.overlapping = True
        for start in range(0, max(1, len(rows)), PAGE_MOST):
            part = rows[start : start + PAGE_MOST]
            slot = Slot(PageRows(part))
            self.share(slot, max(self.bound, raw(part[-1][0]) if part else b""))
            self.fill(len(self.slots) - 1, removed)
        if self.overlapping:
            for slot in self.slots:
                slot.kept = True

    def share(self, slot: Slot, bound: bytes) -> None:
        """Add a page that is another table's, too."""
        self._bounds.append(bound)
        self.slots.append(slot)

    def fill(self, number: int, removed: Container[str]) -> None:
        """Hide what was `removed`, and all but one of the keys that make one name; then count."""
        slot = self.slots[number]
        content = slot.content
        assert content is not None  # noqa: S101 - it was made just now
        for at in range(len(content)):
            key = content.key(at)
            name, directory = name_of(key)
            if name in removed:
                content.flags[at] |= HIDDEN
            elif directory:
                self._mark_directory(number, content, at, key, name)
        self._memory.filled(slot)

    def _mark_directory(self, number: int, content: PageRows, at: int, key: str, name: str) -> None:
        """A directory hides a file of the same name: its content must stay reachable."""
        for other in (name, name + "/"):
            found = self.row(other) if other != key else None
            if found is None or found[0] > number or found[1].flags[found[2]] & HIDDEN:
                continue
            found[1].flags[found[2]] |= DIRECTORY
            content.flags[at] |= HIDDEN
            return

    # -- finding ---------------------------------------------------------------------------------

    def row(self, key: str) -> Place | None:
        """Return where a key is, among the pages that are kept."""
        return self._first((key,)) if self.slots else None

    def row_of(self, name: str) -> Place | None:
        """Return where a name is: a row that is shown, if any."""
        return self._first((name, name + "/", name + keys.FOLDER_SUFFIX)) if self.slots else None

    def _first(self, wanted: Iterable[str]) -> Place | None:
        """Return where the first of some keys is that is shown, else the first that is hidden."""
        hidden, every = None, range(len(self.slots))
        for key in wanted:
            order, pages = key.encode("utf-8", "surrogatepass"), every  # as `raw` has it
            if not self.overlapping:
                number = bisect_left(self._bounds, order)
                pages = every[number : number + 1]
            for number in pages:
                content = self.slots[number].content
                at, found = content.place(order) if content is not None else (0, False)
                if content is not None and found:
                    if not content.flags[at] & HIDDEN:
                        return number, content, at
                    hidden = hidden or (number, content, at)
                    break
        return hidden

    def covers(self, name: str) -> bool:
        """Say whether all keys that could make a name would be in pages that are kept."""
        if self.overlapping:
            return False
        pages = {self.page_of(key) for key in (name, name + "/", name + keys.FOLDER_SUFFIX)}
        return all(
            number < len(self.slots) and self.slots[number].content is not None for number in pages
        )

    def page_of(self, key: str) -> int:
        """Return the number of the page where a key belongs; behind all, the next one's."""
        return bisect_left(self._bounds, raw(key))

    # -- positions -------------------------------------------------------------------------------

    def position(self, name: str, after: int) -> int | None:
        """Return where `name` is if it is within the few places after `after`."""
        found = self.row_of(name)
        if found is None:
            return None
        number, row = divmod(after, PAGE_MOST)
        distance = found[2] - row
        if found[0] == number + 1 and number < len(self.slots):
            distance += self.slots[number].rows
        elif found[0] != number:
            return None
        return found[0] * PAGE_MOST + found[2] if 0 <= distance < NEARBY else None

    def entries(self, start: int, count: int) -> list[tuple[str, Entry]]:
        """Return the entries at the next `count` positions from `start` on that are there."""
        number, row = divmod(start, PAGE_MOST)
        found = []
        while count > 0 and number < len(self.slots):
            slot = self.slots[number]
            content = slot.content
            rows = range(row, min(row + count, len(content))) if content is not None else ()
            found += [
                (name_of(content.key(at))[0], content.entry(at, self.prefix))
                for at in rows
                if content is not None and not content.flags[at] & HIDDEN
            ]
            count -= max(0, slot.rows - row)
            number, row = number + 1, max(0, row - slot.rows)
        return found
