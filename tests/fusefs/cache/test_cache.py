"""The content cache on disk: reuse, eviction, crashes, adoption, renaming."""

import gc
import logging
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs.cache.blockindex import BLOCK
from fusefs.cache.cache import VERSION_BYTES, Cache, CacheFile
from fusefs.cache.cachefile import CHECK_AT_ONCE
from fusefs.cache.kernelreads import KernelReads
from fusefs.disk.space import Space
from fusefs.errors import SetupError
from tests.fusefs.cache.kills import killed

MiB = 1024 * 1024


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def fill(cache: Cache, key: str, data: bytes, etag: str = "e") -> None:
    file = cache.open(key, etag, len(data))
    file.write(0, memoryview(data))
    file.close()


def read(file: CacheFile, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    done = file.read(offset, memoryview(buffer))
    return bytes(buffer[:done])


def cached(cache: Cache, key: str, size: int, etag: str = "e") -> bytes:
    file = cache.open(key, etag, size)
    try:
        return read(file, 0, size)
    finally:
        file.close()


def descriptor_of(path: Path) -> int:
    """Return the descriptor of this process that is open on a file."""
    return next(
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.exists() and link.samefile(path)
    )


def disk_usage(root: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path, 64 * MiB, 0)


@pytest.fixture
def cache(tmp_path: Path, space: Space) -> Iterator[Cache]:
    cache = Cache(tmp_path / "c", space)
    yield cache
    cache.close()


def reopened(cache: Cache, limit: int = 64 * MiB) -> tuple[Cache, Space]:
    """The cache of the next process on the same directory."""
    cache.close()
    space = Space(cache.root, limit, 0)
    return Cache(cache.root, space), space


def test_a_block_written_is_read_and_others_are_missing(cache: Cache) -> None:
    """Only what was written is there; reads stop at the first absent block."""
    data = content(5 * BLOCK + 17)
    file = cache.open("k", "e", len(data))
    file.write(BLOCK, memoryview(data)[BLOCK : 3 * BLOCK])
    assert read(file, BLOCK + 5, len(data)) == data[BLOCK + 5 : 3 * BLOCK]
    assert read(file, 0, 10) == b""
    assert file.missing(0, len(data)) == [(0, BLOCK), (3 * BLOCK, 2 * BLOCK + 17)]
    assert not file.whole
    file.close()


def test_the_short_last_block_is_kept(cache: Cache) -> None:
    """Bytes up to the end of the object are a whole block."""
    data = content(BLOCK + 17)
    fill(cache, "k", data)
    assert cached(cache, "k", len(data)) == data
    assert cache.whole("k", "e")


def test_parts_of_blocks_are_not_kept(cache: Cache) -> None:
    """An unaligned range keeps the whole blocks inside it."""
    data = content(4 * BLOCK)
    file = cache.open("k", "e", len(data))
    file.write(100, memoryview(data)[100 : 3 * BLOCK + 7])
    assert file.missing(0, len(data)) == [(0, BLOCK), (3 * BLOCK, BLOCK)]
    file.close()


def test_another_etag_is_another_content(cache: Cache) -> None:
    """Content is found under its own version only."""
    fill(cache, "k", content(100))
    assert cache.peek("k", "e")
    assert not cache.peek("k", "other")
    assert cached(cache, "k", 100, "other") == b""


def test_the_same_version_is_the_same_object(cache: Cache) -> None:
    """Everybody who opens a version shares it."""
    first, second = cache.open("k", "e", 10), cache.open("k", "e", 10)
    assert first is second
    first.close()
    second.write(0, memoryview(b"0123456789"))
    assert read(second, 0, 10) == b"0123456789"
    second.close()


def test_opening_alone_leaves_nothing_on_disk(cache: Cache) -> None:
    """Files are made by the first write."""
    cache.open("k", "e", 10).close()
    assert list((cache.root / "content").iterdir()) == []
    assert not cache.peek("k", "e")


def test_the_next_process_finds_the_content(cache: Cache) -> None:
    """A restart on the same directory reuses it, and counts what it takes."""
    data = content(3 * BLOCK + 1)
    fill(cache, "k", data)
    following, space = reopened(cache)
    assert space.used >= len(data)
    assert following.whole("k", "e")
    assert cached(following, "k", len(data)) == data
    following.close()


def test_a_restart_with_a_lower_limit_shrinks(cache: Cache) -> None:
    """The limit holds from the first moment."""
    for number in range(8):
        fill(cache, f"k{number}", content(MiB, number))
    following, space = reopened(cache, limit=3 * MiB)
    assert space.used <= 3 * MiB
    assert disk_usage(cache.root / "content") <= 3 * MiB
    following.close()


def test_a_second_process_is_refused(cache: Cache) -> None:
    """Two processes would overwrite each other; the message says which directory and whose."""
    script = (
        "import sys; from pathlib import Path; from fusefs.cache import cachedir\n"
        "cachedir.LOCK_SECONDS = 0\n"
        "cachedir.CacheDir(Path(sys.argv[1]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(cache.root)], capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert f"pid {os.getpid()}" in run.stderr
    assert str(cache.root) in run.stderr


def test_an_unusable_directory_is_a_setup_error(tmp_path: Path, space: Space) -> None:
    """A file where the directory should be is one clear line."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="cache directory"):
        Cache(tmp_path / "file", space)


def test_another_format_empties_the_cache(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    """What another version of the program wrote isn't guessed at."""
    fill(cache, "k", content(100))
    (cache.root / "format").write_text("99")
    following, space = reopened(cache)
    assert space.used == 0
    assert not following.peek("k", "e")
    assert "format '99', emptied" in caplog.text
    following.close()


def test_half_pairs_and_strangers_are_removed(cache: Cache) -> None:
    """What a kill between two renames leaves goes at the next start."""
    fill(cache, "k", content(BLOCK + 1))
    next((cache.root / "content").glob("*.index")).unlink()
    (cache.root / "content" / "stranger").write_text("x")
    following, space = reopened(cache)
    assert list((cache.root / "content").iterdir()) == []
    assert space.used == 0
    following.close()


def test_the_least_recently_used_version_goes_first(tmp_path: Path) -> None:
    """A version read lately stays, an older one makes room."""
    cache = Cache(tmp_path / "c", Space(tmp_path, 3 * MiB, 0))
    fill(cache, "a", content(MiB))
    fill(cache, "b", content(MiB))
    cached(cache, "a", MiB)
    fill(cache, "c", content(MiB))
    assert cache.whole("a", "e")
    assert not cache.peek("b", "e")
    cache.close()


def test_a_version_larger_than_the_cache_keeps_its_newest_blocks(tmp_path: Path) -> None:
    """The oldest blocks of an open file are punched out; the limit holds on the disk too."""
    space = Space(tmp_path, 2 * MiB, 0)
    cache = Cache(tmp_path / "c", space)
    data = content(6 * MiB)
    file = cache.open("k", "e", len(data))
    for offset in range(0, len(data), BLOCK):
        file.write(offset, memoryview(data)[offset : offset + BLOCK])
        assert disk_usage(tmp_path / "c" / "content") <= 2 * MiB
    assert file.missing(5 * MiB, MiB) == []
    assert read(file, 5 * MiB, MiB) == data[5 * MiB :]
    assert space.used == file.held
    file.close()
    cache.close()


def test_a_pinned_version_is_never_evicted(tmp_path: Path) -> None:
    """Once the kernel reads a file itself, all of it stays until it is closed."""
    cache = Cache(tmp_path / "c", Space(tmp_path, 3 * MiB, 0))
    data = content(2 * MiB)
    file = cache.open("k", "e", len(data))
    file.write(0, memoryview(data))
    fd = file.verified_fd()
    fill(cache, "other", content(2 * MiB))
    assert os.pread(fd, len(data), 0) == data
    assert not cache.peek("other", "e")
    file.close()
    assert cache.evict(MiB) > 0
    cache.close()


def test_what_the_kernel_reads_since_a_former_process_is_not_evicted(
    cache: Cache, tmp_path: Path
) -> None:
    """The kernel would read zeros; it is known by its inode, under whatever key it is by now."""
    data = content(2 * MiB)
    fill(cache, "k", data)
    (path,) = (each for each in (tmp_path / "c").rglob("*") if each.stat().st_size == len(data))
    status = path.stat()
    cache.close()
    space = Space(tmp_path, 64 * MiB, 0)
    inode = f"{status.st_dev}:{status.st_ino}"
    following = Cache(tmp_path / "c", space)
    following.kernel_reads = KernelReads({inode})
    following.rename("k", "e", "other", "e2")
    file = following.open("other", "e2", len(data))
    assert read(file, 0, 9) == data[:9]
    assert following.evict(64 * MiB) == 0
    (path,) = (each for each in (tmp_path / "c").rglob("*") if each.stat().st_size == len(data))
    assert path.read_bytes() == data
    file.close()
    following.close()


def give_to_kernel(cache: Cache, data: bytes) -> None:
    """Store version `e` of `k`, have the kernel read it by itself, and close it."""
    fill(cache, "k", data)
    file = cache.open("k", "e", len(data))
    assert file.verified_fd() >= 0
    file.close()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("renamed", [False, True])
def test_what_the_kernel_may_have_mapped_is_never_punched(
    tmp_path: Path, space: Space, restarted: bool, renamed: bool
) -> None:
    """A mapping outlives every descriptor; a version that is not open is removed as ever."""
    with closing(Cache(tmp_path / "c", space)) as cache:
        data = content(5 * BLOCK)
        give_to_kernel(cache, data)
        if renamed:
            cache.rename("k", "e", "l", "f")
        after, _ = reopened(cache) if restarted else (cache, space)
        file = after.open("l" if renamed else "k", "f" if renamed else "e", len(data))
        assert read(file, 0, BLOCK) == data[:BLOCK]
        assert after.evict(len(data)) == 0
        assert read(file, 0, len(data)) == data
        file.close()
        assert after.evict(len(data)) > len(data)
        after.close()


def test_a_damaged_block_that_the_kernel_may_have_mapped_is_written_again(
    tmp_path: Path, space: Space
) -> None:
    """It is no hole meanwhile."""
    with closing(Cache(tmp_path / "c", space)) as cache:
        data = content(5 * BLOCK)
        give_to_kernel(cache, data)
        (path,) = cache.root.rglob("*.data")
        damaged = b"bad" + data[3:]
        path.write_bytes(damaged)
        file = cache.open("k", "e", len(data))
        assert read(file, 0, len(data)) == b""
        assert path.read_bytes() == damaged
        file.write(0, memoryview(data)[:BLOCK])
        assert path.read_bytes() == data == read(file, 0, len(data))
        file.close()


def test_an_incomplete_version_has_no_descriptor(cache: Cache) -> None:
    """The kernel would read zeros where a block is missing."""
    file = cache.open("k", "e", 2 * BLOCK)
    file.write(0, memoryview(content(BLOCK)))
    assert file.verified_fd() == -1
    file.close()


def test_a_descriptor_is_given_for_what_a_former_process_left(cache: Cache) -> None:
    """All blocks are checked first."""
    data = content(3 * BLOCK + 9)
    fill(cache, "k", data)
    following, _ = reopened(cache)
    file = following.open("k", "e", len(data))
    assert os.pread(file.verified_fd(), len(data) + 1, 0) == data
    file.close()
    following.close()


def test_a_large_file_has_a_descriptor_once_it_was_checked(tmp_path: Path) -> None:
    """What this process wrote needn't be read again after a close; a former one's has to be."""
    size = CHECK_AT_ONCE + 2 * BLOCK
    cache = Cache(tmp_path / "c", Space(tmp_path, 2 * size, 0))
    fill(cache, "k", bytes(size))
    file = cache.open("k", "e", size)
    assert file.verified_fd() >= 0
    file.close()
    cache.close()
    following = Cache(tmp_path / "c", Space(tmp_path, 2 * size, 0))
    for known in (False, True):
        file = following.open("k", "e", size)
        assert (file.verified_fd() >= 0) == known
        assert file.read(0, memoryview(bytearray(size))) == size
        file.close()
    following.close()


def damage_data(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(BLOCK + 5)
        file.write(b"damaged")


def test_a_damaged_block_is_a_miss(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    """Its neighbours are still read, itself is absent and can be written again."""
    data = content(3 * BLOCK)
    fill(cache, "k", data)
    damage_data(next(cache.root.rglob("*.data")))
    following, _ = reopened(cache)
    file = following.open("k", "e", len(data))
    assert file.verified_fd() == -1
    assert read(file, 0, len(data)) == data[:BLOCK]
    assert file.missing(0, len(data)) == [(BLOCK, BLOCK)]
    assert "damaged" in caplog.text
    file.write(0, memoryview(data))
    assert read(file, 0, len(data)) == data
    file.close()
    following.close()


@settings(max_examples=60, deadline=None)
@given(
    where=st.sampled_from(["*.data", "*.index"]),
    cut=st.booleans(),
    position=st.floats(0, 1),
    garbage=st.binary(min_size=1, max_size=64),
)
def test_no_damage_to_the_files_gives_wrong_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    where: str,
    cut: bool,
    position: float,
    garbage: bytes,
) -> None:
    """Cut or overwritten anywhere, what is read is right or absent."""
    root = tmp_path_factory.mktemp("damage")
    cache = Cache(root / "c", Space(root, 64 * MiB, 0))
    data = content(4 * BLOCK + 100)
    fill(cache, "k", data)
    path = next(cache.root.rglob(where))
    at = int(position * path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(at) if cut else (file.seek(at), file.write(garbage))
    following, _ = reopened(cache)
    file = following.open("k", "e", len(data))
    for offset in range(0, len(data), BLOCK):
        got = read(file, offset, BLOCK)
        assert data[offset:].startswith(got)
    file.close()
    following.close()


def test_a_kill_in_the_middle_of_writing_gives_no_wrong_bytes(tmp_path: Path) -> None:
    """Killed at random moments, the next process reads right bytes or none."""
    script = (
        "import sys, random; from pathlib import Path\n"
        "from fusefs.cache.cache import Cache; from fusefs.disk.space import Space\n"
        "root = Path(sys.argv[1]); cache = Cache(root, Space(root, 3 << 20, 0))\n"
        "data = random.Random(7).randbytes(4 << 20); print('go', flush=True)\n"
        "while True:\n"
        "    file = cache.open('k', 'e', len(data))\n"
        "    at = random.randrange(4) << 20\n"
        "    file.write(at, memoryview(data)[at : at + (1 << 20)]); file.close()\n"
    )
    data = random.Random(7).randbytes(4 << 20)
    for round_ in range(5):
        killed(script, tmp_path, 0.05 + 0.03 * round_)
        cache = Cache(tmp_path, Space(tmp_path, 64 * MiB, 0))
        file = cache.open("k", "e", len(data))
        for offset in range(0, len(data), BLOCK):
            assert read(file, offset, BLOCK) in (b"", data[offset : offset + BLOCK])
        file.close()
        cache.close()


def test_a_disk_that_fails_is_one_warning_and_no_error(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """When the directory is gone, content just isn't cached."""
    (cache.root / "content").rmdir()
    for number in range(3):
        fill(cache, f"k{number}", content(100))
        assert cached(cache, f"k{number}", 100) == b""
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    (cache.root / "content").mkdir()


def read_only(descriptor: int, path: Path) -> None:
    """Have writes to an open file fail, as those of a disk that has become bad."""
    other = os.open(path, os.O_RDONLY)
    os.dup2(other, descriptor, inheritable=False)
    os.close(other)


def test_a_block_that_was_half_evicted_is_not_read_as_zeros(tmp_path: Path, space: Space) -> None:
    """Its bytes are freed, if at all, after the index has ceased to speak of it."""
    with closing(Cache(tmp_path / "c", space, slabs=False)) as cache:
        data = content(2 * BLOCK)
        fill(cache, "k", data)
        file = cache.open("k", "e", len(data))
        assert read(file, 0, len(data)) == data
        (index,) = (tmp_path / "c").rglob("*.index")
        read_only(descriptor_of(index), index)
        cache.evict(BLOCK)
        assert read(file, 0, len(data)) in (data, data[:BLOCK], b"")
        file.close()


def test_a_damaged_block_that_the_disk_keeps_is_not_trusted_later(
    tmp_path: Path, space: Space
) -> None:
    """It was found to be bad, and neither its bytes nor its mark could be taken away."""
    with closing(Cache(tmp_path / "c", space, slabs=False)) as cache:
        data = content(2 * BLOCK)
        fill(cache, "k", data)
        (path,) = (tmp_path / "c").rglob("*.data")
        (index,) = (tmp_path / "c").rglob("*.index")
        with path.open("r+b") as damaged:
            damaged.write(b"bad")
        file = cache.open("k", "e", len(data))
        file.prepare()
        for each in (path, index):
            read_only(descriptor_of(each), each)
        assert read(file, 0, BLOCK) == b""
        assert read(file, BLOCK, BLOCK) == data[BLOCK:]
        file.close()
        assert cached(cache, "k", len(data)) == b""


def test_no_space_is_no_error(tmp_path: Path) -> None:
    """A block that doesn't fit is a miss."""
    space = Space(tmp_path, 2 * MiB, 0)
    cache = Cache(tmp_path / "c", space)
    space.take(2 * MiB)
    fill(cache, "k", content(MiB))
    assert not cache.peek("k", "e")
    assert space.used == 2 * MiB
    cache.close()


def staged(space: Space, data: bytes) -> Path:
    path = space.root / "staged"
    path.write_bytes(data)
    space.take(len(data))
    return path


@pytest.mark.parametrize("size", [0, 100, MiB, 9 * MiB])
def test_an_adopted_file_is_whole_at_once_and_after_a_restart(
    cache: Cache, space: Space, size: int
) -> None:
    """The staged file moves; its checksums follow; its bytes are counted once."""
    data = content(size)
    path = staged(space, data)
    cache.adopt(path, "k", "e", size)
    assert not path.exists()
    assert cache.whole("k", "e")
    assert cached(cache, "k", size) == data
    assert space.used - size <= 2 * 4096
    following, _ = reopened(cache)
    assert cached(following, "k", size) == data
    following.close()


def test_an_adopted_file_without_checksums_is_never_taken_for_whole_again(
    cache: Cache, space: Space
) -> None:
    """Blocks evicted before the checksums were made don't come back as zeros."""
    data = content(9 * MiB)
    cache._closing.set()  # no checksums from now on, as when the index can't be written
    cache.adopt(staged(space, data), "k", "e", len(data))
    file = cache.open("k", "e", len(data))
    file.prepare()
    assert file.shed(MiB) == MiB
    file.close()
    assert cached(cache, "k", len(data)) in (b"", data)
    assert not cache.whole("k", "e")


def test_an_adopted_file_takes_the_place_of_what_was_cached(cache: Cache, space: Space) -> None:
    """A reader that has the former file open reads on from it."""
    data = content(2 * MiB)
    reader = cache.open("k", "e", len(data))
    reader.write(0, memoryview(data)[:MiB])
    cache.adopt(staged(space, data), "k", "e", len(data))
    assert read(reader, 0, MiB) == data[:MiB]
    reader.close()
    assert cached(cache, "k", len(data)) == data
    assert space.used <= len(data) + 2 * 4096


def test_a_file_that_cannot_be_adopted_is_removed_and_given_back(
    cache: Cache, space: Space, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of the wrong size never becomes content."""
    path = staged(space, content(100))
    cache.adopt(path, "k", "e", 200, taken=100)
    assert not path.exists()
    assert not cache.peek("k", "e")
    assert space.used == 0
    assert "isn't kept" in caplog.text


@pytest.mark.parametrize("held_open", [True, False])
def test_renamed_content_is_found_under_its_new_identity(cache: Cache, held_open: bool) -> None:
    """No byte is copied; the former identity is gone; a restart agrees."""
    data = content(3 * BLOCK)
    fill(cache, "old", data, "e1")
    file = cache.open("old", "e1", len(data)) if held_open else None
    cache.rename("old", "e1", "new", "e2")
    assert cached(cache, "new", len(data), "e2") == data
    assert not cache.peek("old", "e1")
    if file is not None:
        assert (file.key, file.etag) == ("new", "e2")
        file.close()
    following, _ = reopened(cache)
    assert cached(following, "new", len(data), "e2") == data
    following.close()


def test_renaming_onto_an_open_version_keeps_both_readable(cache: Cache, space: Space) -> None:
    """Who has either open reads on; one of them stays."""
    data = content(2 * BLOCK)
    fill(cache, "old", data)
    old, new = cache.open("old", "e", len(data)), cache.open("new", "e", len(data))
    new.write(0, memoryview(data)[:BLOCK])
    cache.rename("old", "e", "new", "e")
    assert read(old, 0, len(data)) == data
    assert read(new, 0, len(data)) == data[:BLOCK]
    old.close()
    new.close()
    assert space.used == BLOCK + 4096


def test_a_dropped_key_is_gone_in_all_versions_but_open_ones_read_on(
    cache: Cache, space: Space
) -> None:
    """Dropping frees the disk at once, or when the last reader closes."""
    fill(cache, "k", content(BLOCK, 1), "e1")
    fill(cache, "k", content(BLOCK, 2), "e2")
    fill(cache, "other", content(BLOCK, 3))
    file = cache.open("k", "e2", BLOCK)
    cache.drop("k")
    assert not cache.peek("k", "e1")
    assert not cache.peek("k", "e2")
    assert read(file, 0, BLOCK) == content(BLOCK, 2)
    file.close()
    assert space.used == BLOCK + 4096
    assert len(list((cache.root / "content").iterdir())) == 1


def test_keys_may_be_any_bytes(cache: Cache) -> None:
    """Newlines, surrogates of invalid UTF-8, and keys of the largest length."""
    keys = ["a\nb/../c", os.fsdecode(b"\xff\xfe"), "x" * 1024, "ü" * 512]
    for number, key in enumerate(keys):
        fill(cache, key, content(100, number))
    following, _ = reopened(cache)
    assert [cached(following, key, 100) for key in keys] == [content(100, n) for n in range(4)]
    following.close()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """After everything is closed the process has as many descriptors as before."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    cache = Cache(tmp_path / "c", Space(tmp_path, 4 * MiB, 0))
    for number in range(20):
        fill(cache, f"k{number}", content(MiB // 2, number))
    cache.adopt(staged(Space(tmp_path, MiB, 0), content(100)), "a", "e", 100)
    cache.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_versions_beyond_a_number_go_whatever_their_size(tmp_path: Path, space: Space) -> None:
    """Each takes memory; those used longest ago go, from the disk and from what is counted."""
    cache = Cache(tmp_path / "c", space, versions_most=3)
    for number in range(5):
        fill(cache, f"k{number}", b"small")
    assert [cache.peek(f"k{number}", "e") for number in range(5)] == [False] * 2 + [True] * 3
    assert space.used == cache.held == disk_usage(tmp_path / "c" / "content")
    opened = cache.open("k2", "e", 5)  # isn't counted, and is used last when it is closed
    fill(cache, "k5", b"small")
    opened.close()
    assert [cache.peek(f"k{number}", "e") for number in (2, 3, 4, 5)] == [True, False, True, True]
    cache.close()
    again = Cache(tmp_path / "c", Space(tmp_path, 64 * MiB, 0), versions_most=1)
    assert [again.peek(f"k{number}", "e") for number in (2, 4, 5)].count(True) == 1
    again.close()


def test_a_version_that_is_not_open_takes_as_much_memory_as_is_counted(
    tmp_path: Path, space: Space
) -> None:
    """So that their number can be limited by memory."""
    cache = Cache(tmp_path / "c", space)
    fill(cache, "first", b"small")
    tracemalloc.start()
    for number in range(200):
        fill(cache, f"a/directory/and/a/name-{number}", b"small", f"{number:032x}")
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 200 * VERSION_BYTES
    cache.close()
