"""Sets of byte ranges, compared with sets of single bytes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fusefs.write.ranges import RangeSet

EDGE = st.integers(0, 40)
RANGE = st.tuples(EDGE, EDGE)
STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), EDGE, EDGE), max_size=12)


def built(steps: list[tuple[str, int, int]]) -> tuple[RangeSet, set[int]]:
    """Return a set of ranges and the model of it, after the same steps."""
    ranges, model = RangeSet(), set[int]()
    for step, start, end in steps:
        if step == "add":
            new = set(range(start, end)) - model
            assert ranges.add(start, end) == len(new)
            model |= new
        else:
            ranges.remove(start, end)
            model -= set(range(start, end))
    return ranges, model


@given(STEPS)
def test_it_holds_just_the_bytes_that_were_added_and_not_removed(
    steps: list[tuple[str, int, int]],
) -> None:
    """`add` tells how many were new; `total`, truth and iteration agree."""
    ranges, model = built(steps)
    assert {byte for start, end in ranges for byte in range(start, end)} == model
    assert ranges.total() == len(model)
    assert bool(ranges) == bool(model)


@given(STEPS)
def test_ranges_are_sorted_and_never_touch(steps: list[tuple[str, int, int]]) -> None:
    """Neighbours become one; none is empty."""
    ranges, _ = built(steps)
    found = list(ranges)
    assert all(start < end for start, end in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))


@given(STEPS, RANGE)
def test_it_covers_a_range_when_it_has_every_byte(
    steps: list[tuple[str, int, int]], asked: tuple[int, int]
) -> None:
    """An empty range is covered always."""
    ranges, model = built(steps)
    assert ranges.covers(*asked) == (set(range(*asked)) <= model)


@given(STEPS, RANGE)
def test_pieces_cut_a_range_at_the_borders(
    steps: list[tuple[str, int, int]], asked: tuple[int, int]
) -> None:
    """In order, without a gap, each as long as can be, and the flag is true of each byte."""
    ranges, model = built(steps)
    start, end = asked
    at = start
    flags = []
    for low, high, inside in ranges.pieces(start, end):
        assert (low, high > low) == (at, True)
        assert all((byte in model) == inside for byte in range(low, high))
        flags.append(inside)
        at = high
    assert at == max(start, end) or start >= end
    assert all(one != other for one, other in pairwise(flags))


@given(STEPS)
def test_cleared_it_is_empty(steps: list[tuple[str, int, int]]) -> None:
    """And can be filled again."""
    ranges, _ = built(steps)
    ranges.clear()
    assert (list(ranges), ranges.total(), bool(ranges)) == ([], 0, False)
    assert ranges.add(3, 5) == 2
