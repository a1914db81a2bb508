"""Reading by way of the node's cache, with a fake of it."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

import pytest

from fusefs.cache.blockindex import BLOCK, HUGE, Identity
from fusefs.counters import Count, Counters
from fusefs.errors import Stale
from fusefs.read.nodesource import Lent, NodeSource, Turn
from tests.fusefs.ranges import FakeRanges

SIZE = 3 * BLOCK + 100
DATA = random.Random(1).randbytes(SIZE)
VERSION = Identity("k", "e1", SIZE)
Call = tuple[object, ...]


def lent(data: bytes, first: int, last: int) -> Lent:
    """Blocks of a file as the plugin lends them; the checksums are of the right content."""
    sums = [crc32(DATA[block * BLOCK : (block + 1) * BLOCK]) for block in range(first, last)]
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return Lent(os.dup(file.fileno()), sums)


@dataclass
class FakeNode:
    """Answers `find` with what it is told, one after the other, and then with the last."""

    answers: list[Lent | Turn | None]
    calls: list[Call] = field(default_factory=list)

    def find(self, version: Identity, first: int, last: int, *, doubt: bool) -> Lent | Turn | None:
        self.calls.append(("find", first, last, doubt))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def keep(self, version: Identity, first: int, sums: Sequence[int], data: memoryview) -> None:
        self.calls.append(("keep", first, len(sums), bytes(data)))

    def quit(self, version: Identity, first: int, last: int) -> None:
        self.calls.append(("quit", first, last))

    def close(self) -> None:
        self.calls.append(("close",))


@dataclass
class Bench:
    """A store with one object, and a source before it."""

    node: FakeNode
    wait: float = 10.0
    store: FakeRanges = field(default_factory=FakeRanges)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.store.put("k", DATA)
        self.source = NodeSource(self.store, self.node, self.counters, self.wait)

    def read(self, start: int = 0, stop: int = SIZE, version: Identity = VERSION) -> bytes:
        buffer = bytearray(stop - start)
        told: list[int] = []
        self.source.get_into(version, start, memoryview(buffer), told.append)
        assert told[-1] == len(buffer)
        return bytes(buffer)


def test_what_the_node_has_is_not_asked_of_the_store() -> None:
    """All of it, or the rest of what it has."""
    bench = Bench(FakeNode([lent(DATA, 0, 4), lent(DATA, 1, 2), lent(DATA, 2, 4)]))
    assert bench.read() == DATA
    assert bench.read(BLOCK) == DATA[BLOCK:]
    assert bench.store.gets == []
    assert bench.counters.get(Count.NODE_READ) == 2 * SIZE - BLOCK


def test_a_turn_is_fetched_and_kept() -> None:
    """As many blocks as it is for; the rest is asked for again."""
    bench = Bench(FakeNode([Turn(2), lent(DATA, 2, 4)]))
    assert bench.read() == DATA
    assert bench.store.gets == [(0, 2 * BLOCK)]
    assert bench.node.calls[1] == ("keep", 0, 2, DATA[: 2 * BLOCK])
    assert bench.node.calls[2] == ("find", 2, 4, False)


def test_what_others_fetch_is_waited_for() -> None:
    """Until they have it."""
    bench = Bench(FakeNode([Turn(0), Turn(0), lent(DATA, 0, 4)]))
    assert bench.read() == DATA
    assert bench.store.gets == []


def test_others_are_not_waited_for_too_long() -> None:
    """Nor again soon after: one who holds up others does it once."""
    bench = Bench(FakeNode([Turn(0)]), wait=0.0)
    assert bench.read() == DATA
    calls = len(bench.node.calls)
    assert bench.read() == DATA
    assert len(bench.node.calls) == calls + 1
    assert bench.counters.get(Count.NODE_PASSED) == 2 * SIZE


def test_a_wrong_block_is_never_returned() -> None:
    """What comes before it is used; then the node is told, and then the store is asked."""
    wrong = DATA[:BLOCK] + bytes([DATA[BLOCK] ^ 1]) + DATA[BLOCK + 1 :]
    answers: list[Lent | Turn | None] = [lent(wrong, 0, 4), lent(wrong, 1, 4), lent(wrong, 1, 4)]
    bench = Bench(FakeNode(answers))
    assert bench.read() == DATA
    assert [call[3] for call in bench.node.calls] == [False, False, True]
    assert bench.store.gets == [(BLOCK, SIZE - BLOCK)]


def test_a_file_that_is_too_short_is_wrong() -> None:
    """A block that was evicted meanwhile may be gone."""
    bench = Bench(FakeNode([lent(DATA[:100], 0, 4), None]))
    assert bench.read() == DATA


def test_a_fetch_that_fails_gives_its_turn_up() -> None:
    """And its reader the error."""
    bench = Bench(FakeNode([Turn(4)]))
    bench.store.failures.append(Stale("replaced"))
    with pytest.raises(Stale):
        bench.read()
    assert bench.node.calls[-1] == ("quit", 0, 4)


@pytest.mark.parametrize(
    ("start", "stop", "size"), [(1, SIZE, SIZE), (0, BLOCK + 1, SIZE), (0, BLOCK, HUGE + 1)]
)
def test_what_is_not_whole_blocks_comes_from_the_store(start: int, stop: int, size: int) -> None:
    """So does what is larger than any object that is shared."""
    bench = Bench(FakeNode([None]))
    assert bench.read(start, stop, Identity("k", "e1", size)) == DATA[start:stop]
    assert bench.node.calls == []


def test_a_source_that_is_closed_waits_for_nobody() -> None:
    """The mount is ending."""
    bench = Bench(FakeNode([Turn(0)]))
    bench.source.close()
    assert bench.read() == DATA
    assert bench.node.calls[0] == ("close",)
