"""Small versions, many to a file: reuse, eviction, damage, kills, other releases."""

import ctypes
import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.cache import slab
from fusefs.cache.blockindex import BLOCK
from fusefs.cache.cache import Cache
from fusefs.disk import fallocate
from fusefs.disk.space import Space
from tests.fusefs.cache.kills import killed
from tests.fusefs.cache.test_cache import (
    MiB,
    cached,
    content,
    disk_usage,
    fill,
    read,
    reopened,
    staged,
)

SMALL = 16384


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(tmp_path / "c", Space(tmp_path, 64 * MiB, 0))
    yield cache
    cache.close()


def files(cache: Cache) -> list[Path]:
    return sorted((cache.root / "content").iterdir())


def test_small_versions_share_a_file(cache: Cache) -> None:
    """A file of their own would take longer to make than they take to write; a large one has it."""
    for number in range(100):
        fill(cache, f"k{number}", content(SMALL, number))
    assert len(files(cache)) == 1
    fill(cache, "large", content(BLOCK + 1))
    assert len(files(cache)) == 3
    assert all(cached(cache, f"k{n}", SMALL) == content(SMALL, n) for n in range(100))


def test_the_next_process_finds_them(cache: Cache) -> None:
    """Each under its own key and ETag, and counted."""
    for number in range(100):
        fill(cache, f"k{number}", content(SMALL, number))
    following, space = reopened(cache)
    assert space.used == 100 * SMALL + 2 * slab.PAGE == disk_usage(cache.root / "content")
    assert all(following.whole(f"k{number}", "e") for number in range(100))
    assert not following.whole("k1", "another")
    assert all(cached(following, f"k{n}", SMALL) == content(SMALL, n) for n in range(100))
    following.close()


def test_after_a_restart_the_version_used_longest_ago_goes_first(cache: Cache) -> None:
    """The time of the last use is in the slab."""
    for number in range(3):
        fill(cache, f"k{number}", content(SMALL, number))
    [path] = files(cache)
    with path.open("r+b") as file:
        file.seek(slab.STEP + slab.ENTRY.size)
        file.write(slab.USED.pack(2**32 - 1))
    following, _ = reopened(cache, limit=SMALL + slab.PAGE)
    assert [following.peek(f"k{number}", "e") for number in range(3)] == [True, False, False]
    following.close()


def test_a_version_of_another_size_is_a_miss(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that contradicts itself gets no bytes of another version."""
    fill(cache, "k", content(100))
    following, _ = reopened(cache)
    assert cached(following, "k", 101) == b""
    assert "dropped" in caplog.text
    following.close()


def test_an_evicted_version_gives_its_space_back_at_once(cache: Cache) -> None:
    """By a hole in the file; the file goes with its last version."""
    for number in range(4):
        fill(cache, f"k{number}", content(SMALL, number))
    full = disk_usage(cache.root / "content")
    cache.drop("k1")
    assert disk_usage(cache.root / "content") == full - SMALL
    assert not cache.peek("k1", "e")
    assert cached(cache, "k2", SMALL) == content(SMALL, 2)
    cache.evict(MiB)
    assert files(cache) == []
    assert cache.held == 0


def test_an_evicted_block_of_an_open_version_can_be_written_again(cache: Cache) -> None:
    """Its reader finds it absent, not zeros."""
    data = content(SMALL)
    file = cache.open("k", "e", SMALL)
    file.write(0, memoryview(data))
    assert cache.evict(1) == SMALL
    assert read(file, 0, SMALL) == b""
    file.write(0, memoryview(data))
    assert read(file, 100, SMALL) == data[100:]
    file.close()
    assert cached(cache, "k", SMALL) == data


def test_a_small_version_has_no_descriptor_of_its_own(cache: Cache) -> None:
    """The kernel, given the file, would read its neighbours."""
    file = cache.open("k", "e", SMALL)
    file.write(0, memoryview(content(SMALL)))
    assert file.verified_fd() == -1
    assert file.lend(0, 1) is None
    file.close()


def test_who_outlives_the_cache_neither_reads_nor_changes_a_slab(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """It is another process's by then, which makes holes where it evicts, and reads the rest."""
    fill(cache, "k", content(SMALL))
    late = cache.open("k", "e", SMALL)
    late.prepare()
    cache.drop("k")
    following, _ = reopened(cache)
    opened = following.open("k", "e", SMALL)
    assert read(opened, 0, SMALL) == content(SMALL)
    assert read(late, 0, SMALL) == b""
    assert "can't be read" in caplog.text
    late.close()
    assert read(opened, 0, SMALL) == content(SMALL)
    opened.close()
    following.close()


def test_who_outlives_the_cache_makes_no_slab(cache: Cache) -> None:
    """It could have the name of one that the next process makes."""
    file = cache.open("k", "e", 5)
    cache.close()
    file.write(0, memoryview(b"12345"))
    file.close()
    assert not list(cache.root.rglob("*.slab"))


def test_renamed_versions_are_found_by_the_next_process(cache: Cache) -> None:
    """Under the new identity alone, be they open or not."""
    fill(cache, "a", content(SMALL, 1))
    fill(cache, "b", content(SMALL, 2))
    opened = cache.open("b", "e", SMALL)
    cache.rename("a", "e", "new-a", "n")
    cache.rename("b", "e", "new-b", "n")
    opened.close()
    following, _ = reopened(cache)
    assert [cached(following, key, SMALL, "n") for key in ("new-a", "new-b")] == [
        content(SMALL, 1),
        content(SMALL, 2),
    ]
    assert not following.peek("a", "e")
    assert not following.peek("b", "e")
    following.close()


def test_an_adopted_small_file_joins_the_others(cache: Cache, tmp_path: Path) -> None:
    """Its bytes are counted as those of any other, and its own file is gone."""
    path = staged(Space(tmp_path, MiB, 0), content(100))
    cache.adopt(path, "k", "e", 100)
    assert not path.exists()
    assert cached(cache, "k", 100) == content(100)
    assert cache.held == 2 * slab.PAGE


def test_where_no_hole_can_be_made_each_version_has_its_files(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting a file works on every filesystem; one version is not cached until that is known."""

    def refused(*_: int) -> int:
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    monkeypatch.setattr(fallocate, "_fallocate", refused)
    fill(cache, "k0", content(SMALL))
    fill(cache, "k1", content(SMALL, 1))
    assert {path.suffix for path in files(cache)} == {".data", ".index"}
    assert cached(cache, "k1", SMALL) == content(SMALL, 1)


def test_slabs_with_few_versions_go_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is an open file; versions that are open stay."""
    monkeypatch.setattr(slab, "MANY", 3)
    monkeypatch.setattr(slab, "ENTRIES", 9)
    cache = Cache(tmp_path / "c", Space(tmp_path, 64 * MiB, 0))
    kept = cache.open("k0", "e", 10)
    kept.write(0, memoryview(content(10)))
    for number in range(1, 40):
        fill(cache, f"k{number}", content(10, number))
        if number % 8 in range(1, 7):
            cache.drop(f"k{number}")
    assert len(files(cache)) <= 4
    assert read(kept, 0, 10) == content(10)
    assert cached(cache, "k39", 10) == content(10, 39)
    kept.close()
    cache.close()


def test_versions_of_both_kinds_of_files_are_read(tmp_path: Path) -> None:
    """A directory of a release without slabs, and one of a mount that uses none."""
    former = Cache(tmp_path / "c", Space(tmp_path, 64 * MiB, 0), slabs=False)
    fill(former, "old", content(SMALL, 1))
    following, _ = reopened(former)
    fill(following, "new", content(SMALL, 2))
    following.close()
    for slabs in (False, True):
        cache = Cache(tmp_path / "c", Space(tmp_path, 64 * MiB, 0), slabs=slabs)
        assert cached(cache, "old", SMALL) == content(SMALL, 1)
        assert cached(cache, "new", SMALL) == content(SMALL, 2)
        cache.rename("old", "e", "old", "e2")
        cache.rename("old", "e2", "old", "e")
        cache.close()


def test_a_removed_directory_gets_no_more_versions(
    cache: Cache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody can find any more takes no more space; reads go on without the cache."""
    monkeypatch.setattr(slab, "LOOK_SECONDS", 0.0)
    fill(cache, "k0", content(SMALL))
    for path in files(cache):
        path.unlink()
    (cache.root / "content").rmdir()
    fill(cache, "k1", content(SMALL))
    assert not cache.peek("k1", "e")
    assert "can't be written" in caplog.text
    cache.evict(MiB)
    assert cache.held == 0


@settings(max_examples=60, deadline=None)
@given(cut=st.booleans(), position=st.floats(0, 1), garbage=st.binary(min_size=1, max_size=64))
def test_no_damage_to_a_slab_gives_wrong_bytes(
    tmp_path_factory: pytest.TempPathFactory, cut: bool, position: float, garbage: bytes
) -> None:
    """Cut or overwritten anywhere, in the entries, too: what is read is right or absent."""
    root = tmp_path_factory.mktemp("damage")
    cache = Cache(root / "c", Space(root, 64 * MiB, 0))
    for number in range(8):
        fill(cache, f"k{number}", content(5000, number))
    [path] = files(cache)
    # Most of a slab before its bytes is empty: half of the damage goes to the eight entries.
    at = int(position * 2 * 64 * 9) if position < 0.5 else int(position * path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(at) if cut else (file.seek(at), file.write(garbage))
    following, _ = reopened(cache)
    for number in range(8):
        assert cached(following, f"k{number}", 5000) in (b"", content(5000, number))
    following.close()


def test_what_a_kill_leaves_without_an_entry_is_freed(cache: Cache) -> None:
    """The bytes of a version come first: without its entry nobody counts them."""
    fill(cache, "k0", content(SMALL))
    fill(cache, "k1", content(SMALL))
    [path] = files(cache)
    with path.open("r+b") as file:
        file.seek(slab.STEP)
        file.write(bytes(slab.STEP))
        file.seek(0, os.SEEK_END)
        file.write(content(SMALL))
    following, space = reopened(cache)
    assert space.used == SMALL + slab.PAGE == disk_usage(cache.root / "content")
    assert cached(following, "k1", SMALL) == content(SMALL)
    following.close()


def test_a_kill_while_small_versions_come_and_go_gives_no_wrong_bytes(tmp_path: Path) -> None:
    """Killed at random moments, the next process reads right bytes or none."""
    script = (
        "import sys, random; from pathlib import Path\n"
        "from fusefs.cache.cache import Cache; from fusefs.disk.space import Space\n"
        "root = Path(sys.argv[1]); cache = Cache(root, Space(root, 1 << 20, 0))\n"
        "print('go', flush=True)\n"
        "while True:\n"
        "    n = random.randrange(200); file = cache.open(f'k{n}', 'e', 9000)\n"
        "    file.write(0, memoryview(random.Random(n).randbytes(9000))); file.close()\n"
        "    cache.rename(f'k{n}', 'e', f'k{n}', 'f')\n"
    )
    for round_ in range(3):
        killed(script, tmp_path, 0.05 + 0.03 * round_)
        cache = Cache(tmp_path, Space(tmp_path, 64 * MiB, 0))
        for number, etag in ((n, etag) for n in range(200) for etag in "ef"):
            expected = random.Random(number).randbytes(9000)
            assert cached(cache, f"k{number}", 9000, etag) in (b"", expected)
        cache.close()
