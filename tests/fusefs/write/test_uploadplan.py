"""How a changed file is cut into parts: S3's limits hold, whatever was written."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fusefs.errors import TooBig
from fusefs.objects import ObjectInfo
from fusefs.write.ranges import RangeSet
from fusefs.write.serversidecopy import CopiedRange, CopiedRanges, CopySource
from fusefs.write.uploadplan import (
    MAX_OBJECT,
    MAX_PART,
    MAX_PARTS,
    MIN_PART,
    Changed,
    Piece,
    PlanSettings,
    part_size_for,
    pieces,
)

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


def info(size: int, key: str = "base") -> ObjectInfo:
    return ObjectInfo(key, size, "etag", 0.0)


def changed_file(size: int, base: int, dirty: RangeSet) -> Changed:
    return Changed(size, info(base) if base else None, dirty)


@st.composite
def changed_files(draw: st.DrawFn) -> Changed:
    """A size, a base, what was written and what of it is copied, at places that matter."""
    size = draw(SIZES)
    base = draw(st.sampled_from([0, size, size // 2, min(2 * size, MAX_OBJECT)]) | SIZES)
    dirty, copies = RangeSet(), CopiedRanges()
    near = draw(st.sampled_from([size, base, size // 2, 0]))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, size - 1)) if draw(st.booleans()) else near
        start = max(0, min(size - 1, start + draw(st.integers(-6 * MiB, 6 * MiB))))
        length = draw(st.sampled_from([1, 4096, MIN_PART - 1, MIN_PART, 20 * MiB, 6 * GiB]))
        end = min(size, start + length)
        dirty.add(start, end)
        copies.remove(start, end)
        if draw(st.booleans()):
            source = CopySource(info(MAX_OBJECT, draw(st.sampled_from("xy"))), 7)
            copies.add(CopiedRange(start, end, source))
    return Changed(size, info(base) if base else None, dirty, copies)


def check(changed: Changed, plan: list[Piece]) -> None:
    assert plan[0].start == 0
    assert plan[-1].end == changed.size
    for before, after in pairwise(plan):
        assert before.end == after.start
        assert before.end - before.start >= MIN_PART
    sizes = {piece.end - piece.start for piece in plan[:-1]}
    assert len(sizes) <= 1
    assert plan[-1].end - plan[-1].start <= min(sizes, default=MAX_PART)
    assert len(plan) <= MAX_PARTS
    for piece in plan:
        assert 0 < piece.end - piece.start <= MAX_PART
        if piece.source is not None:
            found = [origin for *_, origin in changed.spans(piece.start, piece.end)]
            assert found == [piece.source]


@given(changed_files(), SETTINGS)
def test_a_plan_is_one_that_s3_takes(changed: Changed, settings: PlanSettings) -> None:
    """It covers the file once, in parts of one size from 5 MiB to 5 GiB, the last not larger, at
    most 10 000; what is copied is of one source."""
    check(changed, pieces(changed, settings))


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
@pytest.mark.parametrize("size", [100 * GiB, MAX_OBJECT])
def test_many_scattered_writes_stay_within_the_number_of_parts(
    size: int, settings: PlanSettings
) -> None:
    """A database's pages all over a large file: cuts may not exceed 10 000 parts."""
    dirty = RangeSet()
    for at in range(0, size, max(12 * MiB, size // 9000)):
        dirty.add(at, at + 4096)
    changed = changed_file(size, size, dirty)
    check(changed, pieces(changed, settings))


@pytest.mark.parametrize("base", [256 * MiB, 256 * MiB + 31, 200_000_003])
def test_an_append_sends_little_more_than_was_written(base: int) -> None:
    """1 MiB behind a few hundred: all else is copied but for a byte a part, side by side."""
    dirty = RangeSet()
    dirty.add(base, base + MiB)
    plan = pieces(changed_file(base + MiB, base, dirty), PlanSettings())
    [sent] = [piece for piece in plan if not piece.source]
    assert sent.end == base + MiB
    assert base - 32 < sent.start <= base
    assert 16 <= len(plan) - 1 <= 32


def test_a_page_in_the_middle_sends_one_part() -> None:
    """4 KiB changed in 1 GiB: 8 MiB are sent, all else is copied, by some 130 requests."""
    dirty = RangeSet()
    dirty.add(500 * MiB, 500 * MiB + 4096)
    plan = pieces(changed_file(GiB, GiB, dirty), PlanSettings())
    assert sum(piece.end - piece.start for piece in plan if not piece.source) == 8 * MiB
    assert len(plan) == 128


@pytest.mark.parametrize(("size", "most"), [(10 * GiB, 40 * MiB), (TiB, 256 * MiB)])
def test_a_page_in_a_huge_file_sends_a_small_part_of_it(size: int, most: int) -> None:
    """Parts grow with the root of the size: few bytes, and not ten thousand copies either."""
    dirty = RangeSet()
    dirty.add(500 * MiB, 500 * MiB + 4096)
    plan = pieces(changed_file(size, size, dirty), PlanSettings())
    assert sum(piece.end - piece.start for piece in plan if not piece.source) <= most
    assert len(plan) <= MAX_PARTS


def test_zeros_beyond_the_base_are_sent() -> None:
    """A file that was extended: there is nothing to copy them from."""
    base = info(20 * MiB)
    plan = pieces(Changed(60 * MiB, base, RangeSet()), PlanSettings())
    assert {piece.source for piece in plan if piece.end <= 20 * MiB} == {CopySource(base)}
    assert not any(piece.source for piece in plan if piece.end > 20 * MiB)
