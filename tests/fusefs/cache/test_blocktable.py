"""Block states against a plain model."""

from hypothesis import given
from hypothesis import strategies as st

from fusefs.cache.blockindex import ABSENT, STORED
from fusefs.cache.blocktable import CHECKED, BlockTable

COUNT = 12
RANGES = st.tuples(st.integers(0, COUNT), st.integers(0, COUNT)).map(sorted)


@given(st.lists(st.tuples(st.sampled_from(["write", "evict", "lose"]), RANGES), max_size=30))
def test_the_table_agrees_with_a_set_of_blocks(steps: list[tuple[str, list[int]]]) -> None:
    """Present, absent and readable runs are those of a set, whatever was done before."""
    table, model = BlockTable(COUNT), set[int]()
    for action, (first, last) in steps:
        apply(table, model, action, first, last)
        absent = {n for start, stop in table.absent(first, last) for n in range(start, stop)}
        assert absent == set(range(first, last)) - model
        assert table.present == len(model)
        stop, checked, _ = table.readable(first, last)
        assert set(range(first, stop)) <= model
        assert checked
        assert stop == last or stop not in model


def apply(table: BlockTable, model: set[int], action: str, first: int, last: int) -> None:
    if action == "write":
        for start, stop in table.claim(first, last):
            assert not model & set(range(start, stop))
            table.settle(start, stop, CHECKED)
        model |= set(range(first, last))
    elif action == "evict":
        claimed = table.claim_oldest(max(1, last - first))
        assert (claimed is None) == (not model)
        if claimed is not None:
            table.settle(*claimed[0], ABSENT)
            model -= set(range(*claimed[0]))
    elif first < COUNT:
        assert table.claim_bad(first, table.epoch) == (first in model)
        if first in model:
            table.settle(first, first + 1, ABSENT)
            model.discard(first)


def test_the_oldest_blocks_leave_first() -> None:
    """Eviction follows the order of arrival, not of place."""
    table = BlockTable(9)
    for start, stop in [(6, 9), (0, 3), (3, 6)]:
        table.claim(start, stop)
        table.settle(start, stop, CHECKED)
    left = []
    while (claimed := table.claim_oldest(3)) is not None:
        left.append(claimed[0])
    assert left == [(6, 9), (0, 3), (3, 6)]


def test_a_busy_block_is_neither_read_nor_claimed_again() -> None:
    """Two writers of one block: the second leaves it alone; an evictor can't see it."""
    table = BlockTable(3)
    assert table.claim(0, 2) == [(0, 2)]
    assert table.claim(0, 3) == [(2, 3)]
    assert table.absent(0, 3) == [(0, 3)]
    assert table.claim_oldest(3) is None


def test_a_check_that_raced_an_eviction_does_not_count() -> None:
    """Bytes read before a block left say nothing about what is there now."""
    table = BlockTable(2)
    table.load(bytearray([STORED, STORED]))
    epoch = table.epoch
    table.claim_oldest(1)
    assert not table.check(1, epoch)
    assert not table.claim_bad(1, epoch)
    assert table.unchecked(0, 2) == [(1, 2)]


def test_only_a_whole_and_checked_table_can_be_pinned() -> None:
    """A pinned table evicts nothing."""
    table = BlockTable(2)
    table.load(bytearray([CHECKED, STORED]))
    assert not table.pin()
    assert table.check(1, table.epoch)
    assert table.pin()
    assert table.claim_oldest(2) is None


def test_what_could_not_be_punched_is_as_before() -> None:
    """A filesystem without holes loses nothing."""
    table = BlockTable(3)
    table.load(bytearray([STORED, STORED, ABSENT]))
    claimed = table.claim_oldest(2)
    assert claimed is not None
    table.restore(claimed[0][0], claimed[1])
    assert table.unchecked(0, 3) == [(0, 2)]
    assert table.present == 2
