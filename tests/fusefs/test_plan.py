"""How a changed file is cut into parts: S3's limits hold, whatever was written."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fusefs.errors import TooBig
from fusefs.plan import (
    MAX_OBJECT,
    MAX_PART,
    MAX_PARTS,
    MIN_PART,
    Piece,
    PlanSettings,
    part_size_for,
    pieces,
)
from fusefs.ranges import RangeSet

MiB, GiB, TiB = 1 << 20, 1 << 30, 1 << 40

SIZES = (
    st.integers(1, 64 * MiB)
    | st.integers(1, 100 * GiB)
    | st.integers(1, MAX_OBJECT)
    | st.sampled_from([MIN_PART, MIN_PART - 1, MIN_PART + 1, 5 * TiB, MAX_OBJECT])
)
SETTINGS = st.builds(
    PlanSettings,
    part_size=st.sampled_from([5 * MiB, 16 * MiB, 100 * MiB, 5 * GiB]),
    copy_size=st.sampled_from([5 * MiB, 512 * MiB, 5 * GiB]),
)


@st.composite
def changed_files(draw: st.DrawFn) -> tuple[int, int, RangeSet]:
    """A size, the base's size, and what was written, at places that matter."""
    size = draw(SIZES)
    base = draw(st.sampled_from([0, size, size // 2, min(2 * size, MAX_OBJECT)]) | SIZES)
    dirty = RangeSet()
    near = draw(st.sampled_from([size, base, size // 2, 0]))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, size - 1)) if draw(st.booleans()) else near
        start = max(0, min(size - 1, start + draw(st.integers(-6 * MiB, 6 * MiB))))
        length = draw(st.sampled_from([1, 4096, MIN_PART - 1, MIN_PART, 20 * MiB]))
        dirty.add(start, min(size, start + length))
    if size > base:  # as in a staged file: what lies beyond the base was written or is zeros
        dirty.add(base, size)
    return size, base, dirty


def check(size: int, base: int, dirty: RangeSet, plan: list[Piece]) -> None:
    assert plan[0].start == 0
    assert plan[-1].end == size
    for before, after in pairwise(plan):
        assert before.end == after.start
        assert before.end - before.start >= MIN_PART
    assert len(plan) <= MAX_PARTS
    for piece in plan:
        assert 0 < piece.end - piece.start <= MAX_PART
        if piece.copied:
            assert piece.end <= base
            assert [inside for *_, inside in dirty.pieces(piece.start, piece.end)] == [False]


@given(changed_files(), SETTINGS)
def test_a_plan_is_one_that_s3_takes(
    changed: tuple[int, int, RangeSet], settings: PlanSettings
) -> None:
    """It covers the file once, in parts of 5 MiB to 5 GiB, at most 10 000; copies are of clean
    bytes of the base."""
    size, base, dirty = changed
    check(size, base, dirty, pieces(size, base, dirty, settings))


@given(st.integers(1, MAX_OBJECT), st.integers(5 * MiB, 5 * GiB))
@example(MAX_OBJECT, 5 * MiB)
def test_a_part_grows_with_the_object(size: int, wanted: int) -> None:
    """Never below what is wanted, never above what S3 takes, whole MiB where it had to grow."""
    found = part_size_for(size, wanted)
    assert wanted <= found <= MAX_PART
    assert -(-size // found) <= MAX_PARTS
    assert found == wanted or found % MiB == 0


def test_more_than_an_object_can_have_is_too_big() -> None:
    """EFBIG, before anything is sent."""
    with pytest.raises(TooBig):
        part_size_for(MAX_OBJECT + 1, 16 * MiB)


@pytest.mark.parametrize("settings", [PlanSettings(), PlanSettings(part_size=MIN_PART)])
@pytest.mark.parametrize("size", [100 * GiB, TiB, 5 * TiB, MAX_OBJECT])
def test_many_scattered_writes_stay_within_the_number_of_parts(
    size: int, settings: PlanSettings
) -> None:
    """A database's pages all over a large file: cuts may not exceed 10 000 parts."""
    dirty = RangeSet()
    for at in range(0, size, max(12 * MiB, size // 9000)):
        dirty.add(at, at + 4096)
    check(size, size, dirty, pieces(size, size, dirty, settings))


def test_an_append_sends_little_more_than_was_written() -> None:
    """1 MiB behind 256 MiB: the rest is copied but for what fills up one part."""
    dirty = RangeSet()
    dirty.add(256 * MiB, 257 * MiB)
    plan = pieces(257 * MiB, 256 * MiB, dirty, PlanSettings())
    assert [piece for piece in plan if not piece.copied] == [Piece(256 * MiB, 257 * MiB, False)]


def test_a_page_in_the_middle_sends_one_part() -> None:
    """4 KiB changed in 1 GiB: 5 MiB are sent, all else is copied."""
    dirty = RangeSet()
    dirty.add(500 * MiB, 500 * MiB + 4096)
    plan = pieces(GiB, GiB, dirty, PlanSettings())
    assert sum(piece.end - piece.start for piece in plan if not piece.copied) == MIN_PART


def test_zeros_beyond_the_base_are_sent() -> None:
    """A file that was extended: there is nothing to copy them from."""
    plan = pieces(60 * MiB, 20 * MiB, RangeSet(), PlanSettings())
    assert [piece.copied for piece in plan if piece.end <= 20 * MiB] == [True]
    assert not any(piece.copied for piece in plan if piece.end > 20 * MiB)
