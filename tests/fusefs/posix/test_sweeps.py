"""Files fetched before they are opened: how many, and what of them was in vain."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from fusefs import waiting
from fusefs.counters import Count
from fusefs.names.selfcopy import SelfCopies
from fusefs.posix.openfiles import OpenFiles
from fusefs.posix.sweeps import ENOUGH, Sweeps
from tests.fusefs.memorystore import MemoryMount

FILES, SIZE = 200, 16
NAMES = [f"{number:03}" for number in range(FILES)]


class Fetches(Executor):
    """Fetches that end when the test says so, or when an open waits for them."""

    def __init__(self) -> None:
        self._left: list[Fetching] = []

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Fetching:
        """Take one."""
        self._left.append(Fetching(lambda: work(*arguments, **named)))
        return self._left[-1]

    def end(self) -> None:
        """End all, and those that begin meanwhile."""
        while self._left:
            self._left.pop(0).end()


class Fetching(Future[Any]):
    """One of them."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work

    def end(self) -> None:
        """Do the work, unless it is done."""
        if not self.done():
            self.set_result(self._work())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for it."""
        self.end()
        return super().result(timeout)


class Reader:
    """A program that reads files of one directory of a mount with a `--content-ttl`."""

    def __init__(self, mount: MemoryMount, ttl: float = 60.0) -> None:
        self.mount = mount
        self.fetches = Fetches()
        lookup, tree = mount.lookup, mount.tree
        self.sweeps = Sweeps(tree, lookup, mount.cache, self.fetches, 1 << 17, ttl)
        copies = SelfCopies(tree, lookup, mount.uploader, mount.cache)
        self.files = OpenFiles(
            tree, lookup, copies, mount.contents, mount.cache, 1 << 17, False, self.sweeps
        )
        for name in NAMES:
            mount.store.others_put(name, name.encode().ljust(SIZE))

    def read(self, names: list[str], *, in_time: bool = True) -> None:
        """Read files one after another; `in_time`: fetches end before the next open."""
        for name in names:
            node = self.mount.lookup.find(self.mount.tree.root, name)
            handle = self.files.open(node, os.O_RDONLY).handle
            view = bytearray(SIZE)
            assert self.files.read_into(handle, 0, memoryview(view)) == SIZE
            assert view == name.encode().ljust(SIZE)
            self.files.release(handle)
            if in_time:
                self.fetches.end()

    def ahead(self, idle: float | None = 0.0) -> tuple[int, int]:
        """Return how many files were fetched ahead and opened, and how many in vain."""
        self.sweeps.settle(idle)
        counters = self.mount.store.counters
        return counters.get(Count.AHEAD_USED) // SIZE, counters.get(Count.AHEAD_WASTED) // SIZE


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A program that reads 200 files, and never waits between two of them."""
    with MemoryMount(tmp_path) as mount:
        yield Reader(mount)


def test_a_directory_read_to_its_end_wastes_nothing(reader: Reader) -> None:
    """All but the first few were fetched ahead, once each, and were opened."""
    reader.read(NAMES)
    used, wasted = reader.ahead()
    assert wasted == 0
    assert used > 0.95 * FILES
    assert reader.mount.store.asked["get"] == FILES


@pytest.mark.parametrize("read", [90, 150])
def test_a_reader_that_stops_early_wastes_little(reader: Reader, read: int) -> None:
    """Files that are there when they are opened are no reason to fetch more of them."""
    reader.read(NAMES[:read])
    used, wasted = reader.ahead()
    assert 0 < wasted < 0.1 * (used + wasted)


def test_opens_that_wait_have_more_fetched_but_not_the_directory(reader: Reader) -> None:
    """A reader in the listing's order needs as many before it as keep all fetches busy."""
    reader.read(NAMES[:120], in_time=False)
    reader.fetches.end()
    _, wasted = reader.ahead()
    assert 20 < wasted <= ENOUGH + 8


def test_a_reader_in_another_order_has_the_directory_fetched(reader: Reader) -> None:
    """Its opens find nothing at first; then all is there, as in an epoch of a data loader."""
    order = [NAMES[number * 77 % FILES] for number in range(FILES)]
    reader.read(order[:80])
    before = reader.mount.store.asked["get"]
    assert before == FILES
    reader.read(order[80:])
    assert reader.mount.store.asked["get"] == before
    assert reader.ahead()[1] == 0


@pytest.mark.parametrize("in_time", [True, False])
def test_an_open_says_that_it_waits_for_a_fetch_under_way(reader: Reader, in_time: bool) -> None:
    """So the driver's reader is replaced; one whose fetch has ended waits for nobody."""
    reader.read(NAMES[:20], in_time=in_time)
    waits: list[bool] = []
    waiting.listened(lambda: reader.read(NAMES[20:21]), lambda: waits.append(True))
    assert bool(waits) is not in_time


def test_what_may_still_be_opened_is_not_wasted_yet(reader: Reader) -> None:
    """It is counted once the TTL is over, or when the program has gone on to other directories."""
    reader.read(NAMES[:50])
    assert reader.ahead(idle=None)[1] == 0
    assert reader.ahead(idle=0.0)[1] > 0
