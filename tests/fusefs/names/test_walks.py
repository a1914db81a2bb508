"""Pages of a walk: those that are requested ahead, and those it has passed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fusefs.names.walks import Walks
from fusefs.objects import Page
from tests.fusefs.memorystore import MemoryStore

DIRECTORIES, FILES = 6, 400  # so that a page of 1 000 keys ends within a directory


class PagedStore(MemoryStore):
    """A bucket whose LISTs come in pages; the token is the last key."""

    def list_page(
        self,
        prefix: str,
        delimiter: str = "/",
        token: str | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page:
        """As `Store.list_page`."""
        page = super().list_page(prefix, delimiter, None, limit, token or after)
        last = page.objects[-1].key if len(page.objects) == limit else None
        return Page(page.objects, page.prefixes, last)


def filled() -> Any:
    """Return a bucket with directories; each page but the last ends within one."""
    store = PagedStore()
    for directory in range(DIRECTORIES):
        store.others_put(f"d{directory}/", b"")
        for file in range(FILES - 1):
            store.others_put(f"d{directory}/f{file:03}", b"")
    return store


def test_a_directory_that_a_walk_has_passed_is_not_shown_in_part() -> None:
    """Its first names were in a page that was dropped, its marker among them."""
    with ThreadPoolExecutor(2) as pool:
        walks = Walks(filled(), pool)
        for directory in range(DIRECTORIES):
            walks.page(f"d{directory}/")
        for directory in (3, 1, 2, 4, 5):  # the third began in the page that was dropped
            again = walks.page(f"d{directory}/")
            assert again is None or len(again.page.objects) == FILES
            assert not walks.lacks(f"d{directory}/")


def test_a_page_whose_turn_has_not_come_is_not_waited_for() -> None:
    """All threads of the pool may be those that wait for this walk."""
    store = filled()
    busy = threading.Event()
    pages: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(busy.wait)
        walks = Walks(store, pool)

        def walk() -> None:
            pages.extend(walks.page(f"d{directory}/") for directory in range(DIRECTORIES))

        walker = threading.Thread(target=walk, daemon=True)
        walker.start()
        walker.join(20)
        stuck = walker.is_alive()
        busy.set()
    assert not stuck
    sizes = [len(each.page.objects) for each in pages if each is not None]
    assert sizes == [FILES] * (DIRECTORIES - 1)  # the first one isn't known for a walk
