"""Where cached bytes are: they are checked, and stay as they are until they are released."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fusefs.cache.blockindex import BLOCK
from fusefs.cache.blocktable import CHECKED, BlockTable
from fusefs.cache.cache import Cache
from fusefs.cache.cachefile import CacheFile
from fusefs.disk.space import Space

DATA = os.urandom(5 * BLOCK + 77)


@contextmanager
def cached(root: Path, *, stored: int = len(DATA)) -> Iterator[CacheFile]:
    """Open a version of `DATA`, of which so many bytes are stored."""
    with closing(Cache(root / "c", Space(root, 64 << 20, 0))) as cache:
        file = cache.open("k", "e", len(DATA))
        file.write(0, memoryview(DATA)[:stored])
        yield file
        file.close()


def whole_table(count: int) -> BlockTable:
    """A table with all of its blocks written in order."""
    table = BlockTable(count)
    table.claim(0, count)
    table.settle(0, count, CHECKED)
    return table


def test_the_bytes_are_in_the_file(tmp_path: Path) -> None:
    """Anywhere, and no more than up to the end of the object."""
    with cached(tmp_path) as file:
        for offset, size in ((0, BLOCK), (BLOCK - 3, 2 * BLOCK), (5 * BLOCK, BLOCK)):
            extent = file.extent(offset, size)
            assert extent is not None
            data = os.pread(extent.descriptor, extent.size, extent.offset)
            assert data == DATA[offset:][:size]
            extent.release()
        assert file.extent(len(DATA), 1) is None


def test_an_incomplete_version_has_none(tmp_path: Path) -> None:
    """The rest has to be fetched, as a read does it."""
    with cached(tmp_path, stored=2 * BLOCK) as file:
        assert file.extent(0, BLOCK) is None


def test_what_a_former_process_left_is_checked_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damage is found before anybody is told where the bytes are; the rest is given."""
    with cached(tmp_path):
        pass
    (path,) = tmp_path.rglob("*.data")
    with path.open("r+b") as data:
        data.seek(3 * BLOCK + 5)
        data.write(b"damaged")
    with cached(tmp_path, stored=0) as file:
        extent = file.extent(0, BLOCK)
        assert extent is not None
        extent.release()
        assert file.extent(2 * BLOCK, 2 * BLOCK) is None
    assert "damaged" in caplog.text


def test_nothing_of_it_is_evicted_before_it_is_released(tmp_path: Path) -> None:
    """The other blocks are, and afterwards these."""
    with cached(tmp_path) as file:
        extent = file.extent(BLOCK + 1, BLOCK)
        assert extent is not None
        file.shed(len(DATA))
        assert os.pread(extent.descriptor, BLOCK, BLOCK + 1) == DATA[BLOCK + 1 :][:BLOCK]
        assert os.pread(extent.descriptor, BLOCK, 0) == bytes(BLOCK)
        assert file.shed(len(DATA)) == 0
        extent.release()
        assert file.shed(len(DATA)) == 2 * BLOCK


def test_a_damaged_block_is_no_hole_before_it_is_released(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Others miss it meanwhile, and write it again."""
    with cached(tmp_path) as file:
        extent = file.extent(0, BLOCK)
        (path,) = tmp_path.rglob("*.data")
        damaged = b"bad" + DATA[3:]
        path.write_bytes(damaged)
        file.recheck(0)
        assert extent is not None and file.extent(0, BLOCK) is None
        assert os.pread(extent.descriptor, BLOCK, 0) == damaged[:BLOCK]
        file.write(0, memoryview(DATA)[:BLOCK])
        extent.release()
        assert path.read_bytes() == DATA
    assert "damaged" in caplog.text


def test_bytes_are_never_zeros_while_their_file_is_evicted(tmp_path: Path) -> None:
    """One thread evicts what it can while others compare what they were given, every time."""
    with cached(tmp_path) as file, ThreadPoolExecutor(3) as pool:

        def compared(first: int) -> bool:
            extent = file.extent(first * BLOCK, 2 * BLOCK)
            if extent is None:
                return False
            try:
                for _ in range(5):
                    data = os.pread(extent.descriptor, extent.size, extent.offset)
                    assert data == DATA[first * BLOCK :][: 2 * BLOCK]
            finally:
                extent.release()
            return True

        given = 0
        for _ in range(60):
            reads = [pool.submit(compared, first) for first in (0, 1)]
            freed = pool.submit(file.shed, len(DATA))
            given += sum(each.result() for each in reads)
            freed.result()
            file.shed(len(DATA))
            assert file.empty
            file.write(0, memoryview(DATA))
        assert given


def test_the_oldest_blocks_that_nobody_holds_leave_first() -> None:
    """Those held keep their place in the order; each of their holders has to let go."""
    table = whole_table(6)
    assert table.hold(1, 3) and table.hold(2, 4)
    left = []
    while (claimed := table.claim_oldest(6)) is not None:
        left.append(claimed[0])
    assert left == [(0, 1), (4, 6)]
    table.let_go(1, 3)
    assert table.claim_oldest(6) == ((1, 2), bytes([CHECKED]))
    assert table.claim_oldest(6) is None
    table.let_go(2, 4)
    assert table.claim_oldest(6) == ((2, 4), bytes([CHECKED] * 2))
    assert table.present == 0


def test_only_checked_blocks_are_held() -> None:
    """None is where one is missing."""
    table = BlockTable(3)
    table.claim(0, 2)
    table.settle(0, 2, CHECKED)
    assert not table.hold(0, 3)
    assert table.claim_oldest(3) == ((0, 2), bytes([CHECKED] * 2))
