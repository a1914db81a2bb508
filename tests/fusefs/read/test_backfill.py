"""A file read here and there: what a miss brings, and when the rest is fetched behind it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from fusefs.cache.cache import Cache
from fusefs.counters import Count, Counters
from fusefs.disk.space import Space
from fusefs.read.backfill import AROUND, MISSES, PIECE, Backfill
from fusefs.read.reader import ObjectVersion, Reader, ReadLimits
from fusefs.read.readpool import ReadPool
from tests.fusefs.ranges import FakeRanges

MIB = 1 << 20
SIZE = 80 * MIB
PAGE = 4096
BLOCK = 128 * 1024
Opened = Callable[..., tuple[ObjectVersion, FakeRanges]]


@pytest.fixture
def counters() -> Counters:
    """What the readers count."""
    return Counters()


@pytest.fixture
def opened(tmp_path: Path, counters: Counters) -> Iterator[Opened]:
    """Open a version over a store in memory, with a cache of so many bytes."""
    made: list[tuple[ObjectVersion, Reader, Cache]] = []

    def build(room: int, share: float = 0.25) -> tuple[ObjectVersion, FakeRanges]:
        store = FakeRanges()
        store.put("k", bytes(SIZE))
        cache = Cache(tmp_path / f"{len(made)}", Space(tmp_path, room, 0))
        reader = Reader(store, cache, ReadLimits(fill=share), counters)
        version = reader.open("k", "e1", SIZE)
        made.append((version, reader, cache))
        return version, store

    yield build
    for version, reader, cache in made:
        if version.users:
            version.close()
        reader.close()
        cache.close()


def miss(version: ObjectVersion, times: int) -> None:
    """Read pages here and there, each a miss, for as long as there are some."""
    stream, page = version.stream(), memoryview(bytearray(PAGE))
    places = list(range(0, SIZE, 3 * MIB))
    random.Random(1).shuffle(places)
    for place in places[:times]:
        version.read_into(place + MIB, page, stream)


def settled(version: ObjectVersion) -> None:
    """Wait until nothing is under way."""
    until = monotonic() + 10
    while version.pending and monotonic() < until:
        sleep(0.005)
    assert not version.pending


def test_a_few_misses_bring_their_neighbours(opened: Opened) -> None:
    """Each fetches about what arrives in its round trip; the first may be a header's."""
    version, store = opened(4 * SIZE)
    miss(version, 4)
    settled(version)
    assert [length for _, length in store.gets] == [BLOCK] + 3 * [AROUND]


def test_a_miss_fetches_up_to_what_is_there(opened: Opened) -> None:
    """No byte twice."""
    version, store = opened(4 * SIZE)
    stream, page = version.stream(), memoryview(bytearray(PAGE))
    for place in (10 * MIB, 20 * MIB, 20 * MIB - 3 * BLOCK):
        version.read_into(place, page, stream)
        settled(version)
    assert store.gets[-1] == (20 * MIB - 3 * BLOCK, 3 * BLOCK)


def test_when_misses_go_on_the_rest_is_fetched(opened: Opened) -> None:
    """Once, in parts that few can be waited for, and never all connections at a time."""
    version, store = opened(4 * SIZE)
    miss(version, MISSES + 1)
    settled(version)
    assert store.fetched == SIZE
    assert max(length for _, length in store.gets) <= PIECE
    assert store.most_running <= 9 + 1


@pytest.mark.parametrize(("room", "share"), [(4 * SIZE - MIB, 0.25), (8 * SIZE, 0.0)])
def test_what_does_not_fit_is_fetched_as_it_is_read(
    opened: Opened, room: int, share: float
) -> None:
    """Or where that is switched off: a block for each page."""
    version, store = opened(room, share)
    miss(version, 16)
    settled(version)
    assert store.fetched == 16 * BLOCK


def test_sequential_reads_fill_nothing(opened: Opened) -> None:
    """They have their own read-ahead, and end where they like."""
    version, store = opened(4 * SIZE)
    stream, view = version.stream(), memoryview(bytearray(BLOCK))
    for at in range(0, 2 * MIB, BLOCK):
        version.read_into(at, view, stream)
    settled(version)
    assert store.fetched < SIZE // 2


def test_it_ends_with_the_reader(opened: Opened) -> None:
    """A version that is closed is fetched no further."""
    version, store = opened(4 * SIZE)
    store.latency = 0.05
    miss(version, MISSES + 1)
    version.close()
    settled(version)
    assert store.fetched < SIZE


def test_what_was_of_use_is_counted_near_reads(opened: Opened, counters: Counters) -> None:
    """Of a file fetched whole the pieces that are read in later, once each; at its close the
    others are counted as wasted."""
    version, _ = opened(4 * SIZE)
    miss(version, MISSES + 1)
    settled(version)
    stream, page = version.stream(), memoryview(bytearray(PAGE))
    before = counters.get(Count.AHEAD_USED)
    for place in (5 * PIECE, 5 * PIECE + MIB, 6 * PIECE - 2048):
        version.read_into(place, page, stream)
    assert PIECE <= counters.get(Count.AHEAD_USED) - before <= 2 * PIECE
    assert not counters.get(Count.AHEAD_WASTED)
    version.close()
    counted = counters.get(Count.AHEAD_USED) + counters.get(Count.AHEAD_WASTED)
    assert SIZE - (MISSES + 1) * AROUND <= counted < SIZE


def test_parts_that_were_not_fetched_are_not_wasted(opened: Opened, counters: Counters) -> None:
    """The reader closed the file while they were queued."""
    version, store = opened(4 * SIZE)
    store.latency = 0.05
    miss(version, MISSES + 1)
    version.close()
    settled(version)
    assert counters.get(Count.AHEAD_WASTED) <= store.fetched < SIZE


def test_it_stops_when_nobody_reads_any_more() -> None:
    """A second later nothing begins; misses that go on later begin anew."""
    fill = Backfill(4, Counters())
    for number in range(MISSES):
        fill.read(100.0)
        fill.missed(100.0 + number / 100)
    assert fill.active(100.5)
    fill.at = 7
    assert not fill.active(102.0)
    fill.read(102.0)
    assert not fill.active(102.0)
    for _ in range(MISSES):
        fill.missed(103.0)
    fill.read(103.0)
    assert fill.active(103.0)
    assert fill.at == 0


def test_misses_far_apart_are_no_reason() -> None:
    """Somebody looks something up now and then."""
    fill = Backfill(4, Counters())
    for number in range(4 * MISSES):
        fill.read(number)
        fill.missed(number)
        assert not fill.active(number)


def test_it_gives_way_where_misses_take_longer_beside_it() -> None:
    """Down to one part at a time, and up again when they are as fast as they were."""
    fill = Backfill(4, Counters())
    for number in range(MISSES):
        fill.took(0.02)
        fill.read(number / 100)
        fill.missed(number / 100)
    found = []
    for seconds in (0.02, 0.06, 0.06, 0.06, 0.03, 0.02, 0.02, 0.02):
        fill.took(seconds)
        found.append(fill.parts)
    assert found == [4, 2, 1, 1, 2, 3, 4, 4]


def test_files_share_what_may_be_filled(tmp_path: Path) -> None:
    """Two that fit one by one and not together: the second waits until the first is left alone."""
    pool = ReadPool(FakeRanges(), Cache(tmp_path, Space(tmp_path, 4 * SIZE, 0)), ReadLimits())
    pool.room()
    with pool.lock:
        assert pool.filling(1, SIZE)
        assert not pool.filling(2, SIZE // 2)
        assert pool.filling(1, SIZE)
    pool.cache.close()
