"""One version per descriptor, while others replace the file and it is opened again."""

from __future__ import annotations

import errno
import mmap
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place
from tests.servers.s3 import Bucket

PAGE = 4096
OLD, NEW = b"o" * 5 * PAGE, b"N" * 5 * PAGE
SIZES = pytest.mark.parametrize("size", [len(OLD), 2 * PAGE, 9 * PAGE], ids=str)


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file for the block."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def is_of(fd: int, content: bytes) -> None:
    """Check that every page is of this content, or can't be had any more."""
    for offset in range(0, len(content), PAGE):
        try:
            assert os.pread(fd, PAGE, offset) == content[offset : offset + PAGE]
        except OSError as error:
            assert error.errno == errno.ESTALE


@SIZES
def test_a_version_opened_beside_an_older_one(given: Place, size: int) -> None:
    """Each descriptor reads the bytes of its version, in whatever order they are used."""
    new = NEW[:PAGE] * (size // PAGE)
    given.keys.put("v", OLD)
    with opened(given / "v") as first:
        assert os.pread(first, PAGE, 0) == OLD[:PAGE]
        given.keys.put("v", new)
        with opened(given / "v") as second:
            assert os.pread(second, PAGE, 0) == new[:PAGE]
            is_of(first, OLD)
            assert os.pread(second, len(new) + 1, 0) == new
            is_of(first, OLD)
        given.keys.put("v", b"3")
        with opened(given / "v") as third:
            assert os.pread(third, PAGE, 0) == b"3"
            is_of(first, OLD)
    assert (given / "v").read_bytes() == b"3"


def test_versions_on_a_read_only_mount(bucket: Bucket, mounts: Mounts) -> None:
    """Also where the kernel reads whole files from the cache by itself."""
    old, new = OLD * 20, NEW * 20
    bucket.put("v", old)
    path = mounts(bucket, "--read-only").path / "v"
    assert path.read_bytes() == old
    with opened(path) as first:
        assert os.pread(first, PAGE, 0) == old[:PAGE]
        bucket.put("v", new)
        with opened(path) as second:
            assert os.pread(second, PAGE, 0) == new[:PAGE]
            is_of(first, old)
            assert os.pread(second, len(new), 0) == new


@pytest.mark.one_driver  # libfuse 2 has one inode and one page cache for all versions
def test_a_mapped_version_beside_an_older_one(given: Place) -> None:
    """A mapping is of the version of its descriptor, before and after the other is used."""
    given.keys.put("v", OLD)
    with opened(given / "v") as first, mmap.mmap(first, 0, prot=mmap.PROT_READ) as before:
        assert before[:] == OLD
        given.keys.put("v", NEW)
        with opened(given / "v") as second, mmap.mmap(second, 0, prot=mmap.PROT_READ) as after:
            assert after[:] == NEW
            assert before[:] == OLD
            is_of(first, OLD)


def test_descriptors_of_one_version_see_each_others_writes(given: Place) -> None:
    """Also of a version that was opened beside an older one, and across its commits."""
    given.keys.put("v", OLD)
    with opened(given / "v") as first:
        assert os.pread(first, PAGE, 0) == OLD[:PAGE]
        given.keys.put("v", NEW)
        with opened(given / "v", os.O_RDWR) as writer, opened(given / "v") as reader:
            for letter in (b"a", b"b"):
                assert os.pread(reader, PAGE, PAGE) != letter * PAGE
                os.pwrite(writer, letter * PAGE, PAGE)
                assert os.pread(reader, PAGE, PAGE) == letter * PAGE
                os.fsync(writer)
                assert os.pread(reader, PAGE, PAGE) == letter * PAGE
                assert (given / "v").read_bytes()[PAGE : 2 * PAGE] == letter * PAGE
        is_of(first, OLD)
    assert (given / "v").read_bytes() == given.keys.get("v")


def test_what_others_wrote_is_seen_by_name_while_the_file_is_open(
    bucket: Bucket, mounts: Mounts
) -> None:
    """`stat` tells it within the TTL; the open descriptor keeps its version's bytes."""
    bucket.put("v", OLD)
    path = mounts(bucket, "--attr-ttl", "0.5").path / "v"
    with opened(path) as first:
        assert os.pread(first, PAGE, 0) == OLD[:PAGE]
        assert path.stat().st_size == len(OLD)
        for size in (100, 9 * PAGE):
            bucket.put("v", b"N" * size)
            sleep(0.6)
            assert path.stat().st_size == size
            is_of(first, OLD)


def test_changing_attributes_by_name_beside_an_older_version(given: Place) -> None:
    """They are those of the version that is there, seen at once; the open one isn't disturbed."""
    given.keys.put("v", OLD)
    path = given / "v"
    with opened(path) as first:
        assert os.pread(first, PAGE, 0) == OLD[:PAGE]
        given.keys.put("v", NEW + NEW)
        path.chmod(0o600)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_size == 2 * len(NEW)
        os.truncate(path, PAGE)
        assert path.stat().st_size == PAGE
        is_of(first, OLD)
    assert given.keys.get("v") == NEW[:PAGE]


@pytest.mark.one_driver  # through libfuse 2 an open descriptor shows the new size, too
def test_tail_follows_a_file_that_others_write(bucket: Bucket, mounts: Mounts) -> None:
    """`tail -F` goes over to the new version by its name."""
    bucket.put("log", b"one\n")
    path = mounts(bucket, "--attr-ttl", "0.2").path / "log"
    command = ["tail", "-F", "-s", "0.1", "--max-unchanged-stats=1", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tail:
        try:
            assert tail.stdout is not None
            told = b""
            for line in (b"one\n", b"two\n", b"three\n"):
                if line != b"one\n":
                    bucket.put("log", bucket.get("log") + line)
                while line not in told:
                    assert select.select([tail.stdout], [], [], 20)[0], f"only {told!r}"
                    told += os.read(tail.stdout.fileno(), PAGE)
        finally:
            tail.kill()
