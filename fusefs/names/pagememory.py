"""The memory that the pages of all listings of a mount may take together.

It drops the content of the pages used longest ago; who still needs one lists that range again. A
listing that nobody has any more takes its pages with it. Not here: what a page holds (`pages`).

Threading: any thread; `_lock` is a leaf. A page's content may go at any moment: who reads it takes
a reference of its own first.
"""

import weakref
from collections import OrderedDict, deque

from fusefs import locks
from fusefs.locks import Rank
from fusefs.names.pages import PageRows


class Slot:
    """The place of a page in its listing: its content, None while it is dropped."""

    __slots__ = ("__weakref__", "content", "kept", "number", "rows")

    def __init__(self, content: PageRows) -> None:
        self.content: PageRows | None = content
        self.rows = len(content)  # as they were when positions were first returned
        self.kept = False  # never to be dropped: its listing can't ask for it again
        self.number = 0


class PageMemory:
    """At most `limit` bytes of pages, those of all listings of a mount together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._slots: OrderedDict[int, tuple[weakref.ref[Slot], int]] = OrderedDict()
        self._gone: deque[int] = deque()
        self._next = 1
        self._lock = locks.lock(Rank.LEAF)

    def filled(self, slot: Slot) -> None:
        """Count a page that has content now, and drop others where that is too much."""
        content = slot.content
        if content is None:
            return
        with self._lock:
            self._let_go()
            self._forget(slot.number)
            slot.number = self._next
            self._next += 1
            self._slots[slot.number] = (weakref.ref(slot, self._died(slot.number)), content.size)
            self.used += content.size
            self._shrink(spared=slot.number)

    def touch(self, slot: Slot) -> None:
        """Note that a page was used."""
        with self._lock:
            if slot.number in self._slots:
                self._slots.move_to_end(slot.number)

    def _died(self, number: int) -> "_Died":
        return _Died(self._gone, number)

    def _let_go(self) -> None:
        while self._gone:
            self._forget(self._gone.popleft())

    def _forget(self, number: int) -> None:
        _, size = self._slots.pop(number, (None, 0))
        self.used -= size

    def _shrink(self, spared: int) -> None:
        if self.used <= self.limit:
            return
        for number, (slot, _) in list(self._slots.items()):
            if self.used <= self.limit:
                return
            page = slot()
            if number == spared or (page is not None and page.kept):
                continue
            self._forget(number)
            if page is not None:
                page.content = None


class _Died:
    """What a weak reference calls; it may run at any moment, so it only leaves a note."""

    __slots__ = ("_gone", "_number")

    def __init__(self, gone: deque[int], number: int) -> None:
        self._gone = gone
        self._number = number

    def __call__(self, _: object) -> None:
        self._gone.append(self._number)
