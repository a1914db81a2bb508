"""Pooled memory."""

from hypothesis import given
from hypothesis import strategies as st

from fusefs.read.buffers import Buffers

KiB, MiB = 1024, 1024 * 1024


def test_a_buffer_given_back_is_used_again() -> None:
    """The same kind of buffer isn't made twice."""
    buffers = Buffers(4 * MiB)
    first = buffers.take(MiB)
    assert first is not None
    buffers.give(first)
    assert buffers.take(MiB - 5) is first


def test_idle_buffers_make_way_for_other_sizes() -> None:
    """The limit counts idle buffers too, and they never make a request fail."""
    buffers = Buffers(MiB)
    small = [buffers.take(128 * KiB) for _ in range(8)]
    assert buffers.take(1) is None
    for buffer in small:
        assert buffer is not None
        buffers.give(buffer)
    assert buffers.take(MiB) is not None
    assert buffers.total == MiB


@given(st.lists(st.integers(1, 2 * MiB), max_size=40))
def test_the_limit_is_never_passed(sizes: list[int]) -> None:
    """Whatever is taken and given, all buffers together stay under the limit."""
    buffers, taken = Buffers(3 * MiB), []
    for size in sizes:
        buffer = buffers.take(size)
        if buffer is None:
            assert not buffers.fits(size)
            if taken:
                buffers.give(taken.pop(0))
        else:
            assert len(buffer) >= size
            taken.append(buffer)
        assert buffers.total <= 3 * MiB
    for buffer in taken:
        buffers.give(buffer)
    buffers.trim()
    assert buffers.total == 0
