"""Reads of object versions: request budgets, sharing, failures, bounds."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusefs.cache import Cache
from fusefs.reader import Content, Reader, ReadLimits
from fusefs.space import Space
from tests.fusefs.ranges import FakeRanges

KiB, MiB = 1024, 1024 * 1024
BLOCK = 128 * KiB


@dataclass
class Bench:
    """A reader over a fake store and a real cache directory."""

    root: Path
    store: FakeRanges
    space: Space
    cache: Cache
    reader: Reader

    def put(self, size: int, key: str = "k", etag: str = "e1") -> bytes:
        # Random bytes repeated at a prime distance, so that no two blocks are equal.
        seed = random.Random(size).randbytes(min(size, 1_000_003))
        data = (seed * (size // max(1, len(seed)) + 1))[:size]
        self.store.put(key, data, etag)
        return data

    def close(self) -> None:
        self.reader.close()
        self.cache.close()


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def build(limit: int = 512 * MiB, limits: ReadLimits | None = None) -> Bench:
        store, space = FakeRanges(), Space(tmp_path, limit, 0)
        cache = Cache(tmp_path / f"c{len(made)}", space)
        made.append(
            Bench(tmp_path, store, space, cache, Reader(store, cache, limits or ReadLimits()))
        )
        return made[-1]

    yield build
    for bench in made:
        bench.close()


def read(content: Content, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    done = content.read_into(offset, memoryview(buffer), content.stream())
    return bytes(buffer[:done])


def read_through(content: Content, step: int = MiB) -> bytes:
    stream, buffer = content.stream(), bytearray(content.size)
    view = memoryview(buffer)
    for offset in range(0, content.size, step):
        content.read_into(offset, view[offset : offset + step], stream)
    return bytes(buffer)


@pytest.mark.parametrize("step", [128 * KiB, MiB, 100_000])
def test_a_sequential_read_fetches_each_byte_once(make: Make, step: int) -> None:
    """256 MiB read in order are 256 MiB fetched, in few requests."""
    bench = make()
    data = bench.put(256 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert read_through(content, step) == data
    assert bench.store.fetched == len(data)
    assert len(bench.store.gets) <= 80
    content.close()


def test_a_small_read_is_one_small_request(make: Make) -> None:
    """4 KiB in the middle of a large object cost one GET of one block."""
    bench = make()
    data = bench.put(64 * MiB)
    content = bench.reader.open("k", "e1", len(data))
    assert read(content, 10 * MiB + 5, 4096) == data[10 * MiB + 5 : 10 * MiB + 5 + 4096]
    assert bench.store.gets == [(10 * MiB, BLOCK)]
    content.close()


def test_a_second_read_asks_for_nothing(make: Make) -> None:
    """What was read once comes from the disk, also for the next handle."""
    bench = make()
    data = bench.put(20 * MiB)
    for _ in range(2):
        content = bench.reader.open("k", "e1", len(data))
        assert read_through(content) == data
        content.close()
    assert bench.store.fetched == len(data)
