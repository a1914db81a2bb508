"""Whose turn it is to fetch."""

from __future__ import annotations

import pytest

from fusefs.cache.blockindex import Identity
from fusefs.node.turns import MOST_TURNS, TURN_SECONDS, Turns

VERSION = Identity("scope/key", "etag", 100 << 17)
ONE, OTHER = object(), object()
Runs = list[tuple[int, int]]


class Clock:
    """Time that goes on when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock) -> Turns:
    return Turns(clock)


def nothing(first: int, last: int) -> Runs:
    """No block is there."""
    return [(first, last)]


def test_a_block_is_fetched_by_one(turns: Turns) -> None:
    """Who comes later gets what nobody fetches yet, up to the next block that somebody does."""
    assert turns.take(VERSION, 4, 8, ONE, nothing) == 4
    assert turns.take(VERSION, 4, 8, OTHER, nothing) == 0
    assert turns.take(VERSION, 7, 9, OTHER, nothing) == 0
    assert turns.take(VERSION, 0, 9, OTHER, nothing) == 4
    assert turns.take(VERSION, 8, 9, OTHER, nothing) == 1


def test_a_turn_is_for_what_is_absent(turns: Turns) -> None:
    """It ends before a block that is there; if the first is, there is nothing to fetch."""
    assert turns.take(VERSION, 0, 8, ONE, lambda *_: [(0, 3), (5, 8)]) == 3
    assert turns.take(VERSION, 4, 8, ONE, lambda *_: [(5, 8)]) is None
    assert turns.take(VERSION, 4, 8, ONE, lambda *_: []) is None


def test_a_turn_ends_with_its_blocks_its_worker_or_its_time(turns: Turns, clock: Clock) -> None:
    """Then it is another's."""
    turns.take(VERSION, 0, 8, ONE, nothing)
    assert turns.has(VERSION, 2, 8, ONE)
    turns.end(VERSION, 0, 8, OTHER)
    assert turns.take(VERSION, 0, 8, OTHER, nothing) == 0, "it isn't the other's to end"
    turns.end(VERSION, 0, 8, ONE)
    assert turns.take(VERSION, 0, 8, OTHER, nothing) == 8
    turns.left(OTHER)
    assert turns.take(VERSION, 0, 8, ONE, nothing) == 8
    clock.now += TURN_SECONDS + 1
    assert turns.take(VERSION, 0, 8, OTHER, nothing) == 8
    assert not turns.has(VERSION, 0, 8, ONE)


def test_a_worker_has_a_limited_number_of_turns(turns: Turns) -> None:
    """One that takes all and brings nothing holds up little."""
    for block in range(MOST_TURNS):
        assert turns.take(VERSION, block, block + 1, ONE, nothing) == 1
    assert turns.take(VERSION, 99, 100, ONE, nothing) == 0
    assert turns.take(VERSION, 99, 100, OTHER, nothing) == 1
