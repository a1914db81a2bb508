"""Zeros that nobody wrote: gaps, zeroed ranges beyond the end, and how large a file may get."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Place
from tests.fusefs.mounted.test_read import content

TIB = 1 << 40
NATIVE = "libfuse 2 has no fallocate through fusepy"


def zero_range(path: Path, offset: int, length: int) -> None:
    """Make a range of a file zeros, by the program people use."""
    command = ["fallocate", "-z", "-o", str(offset), "-l", str(length), path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_zeroing_beyond_the_end_of_a_stored_file(given: Place, driver: str) -> None:
    """The gap and the range are zeros."""
    if driver == "fusepy":
        pytest.skip(NATIVE)
    given.keys.put("f", content(1000))
    zero_range(given / "f", 5000, 1000)
    assert (given / "f").read_bytes() == content(1000) + bytes(5000)
    assert given.keys.get("f") == content(1000) + bytes(5000)


def test_zeroing_beyond_the_end_brings_nothing_back(given: Place, driver: str) -> None:
    """What was cut off before stays cut off."""
    if driver == "fusepy":
        pytest.skip(NATIVE)
    given.keys.put("f", content(100_000))
    with (given / "f").open("r+b") as file:
        file.truncate(10)
        zero_range(given / "f", 60_000, 10_000)
    assert given.keys.get("f") == content(100_000)[:10] + bytes(69_990)


@pytest.mark.parametrize("how", ["pwrite", "truncate", "copy"])
def test_growing_beyond_the_end_brings_nothing_back(given: Place, how: str) -> None:
    """The same for the other ways to skip bytes."""
    given.keys.put("f", content(100_000))
    fd = os.open(given / "f", os.O_RDWR)
    os.ftruncate(fd, 10)
    if how == "pwrite":
        os.pwrite(fd, b"x", 60_000)
    elif how == "truncate":
        os.ftruncate(fd, 60_001)
    else:
        os.copy_file_range(fd, fd, 1, 0, 60_000)
    os.close(fd)
    last = {"pwrite": b"x", "truncate": b"\0", "copy": content(100_000)[:1]}[how]
    assert given.keys.get("f") == content(100_000)[:10] + bytes(59_990) + last


@pytest.mark.parametrize(
    "grow",
    [
        lambda fd: os.ftruncate(fd, 60 * TIB),
        lambda fd: os.ftruncate(fd, TIB),
        lambda fd: os.pwrite(fd, b"x", 60 * TIB),
        lambda fd: os.pwrite(fd, b"x", TIB),
    ],
    ids=["truncate 60 TiB", "truncate 1 TiB", "write at 60 TiB", "write at 1 TiB"],
)
def test_what_no_upload_could_hold_is_refused(here: Place, grow: Callable[[int], object]) -> None:
    """EFBIG at the call: larger than any object, or a hole that would be sent for days."""
    fd = os.open(here / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"abc")
    with pytest.raises(OSError, match="File too large") as caught:
        grow(fd)
    assert caught.value.errno == errno.EFBIG
    os.close(fd)
    assert here.keys.get("f") == b"abc"
    assert (here / "f").read_bytes() == b"abc"


def test_a_closed_file_is_not_made_larger_than_an_object(given: Place) -> None:
    """EFBIG by path, too, and the object stays the same version."""
    given.keys.put("f", b"abc")
    before = given.keys.etag("f")
    for size in (TIB, 60 * TIB):
        with pytest.raises(OSError, match="File too large"):
            os.truncate(given / "f", size)
    assert (given / "f").read_bytes() == b"abc"
    assert given.keys.etag("f") == before


@pytest.mark.parametrize("mode", ["--collapse-range", "--insert-range"])
def test_ranges_are_neither_taken_out_nor_put_in(given: Place, mode: str) -> None:
    """EOPNOTSUPP on every driver, and no byte changes."""
    given.keys.put("f", content(20_000))
    command = ["fallocate", mode, "-o", "4096", "-l", "4096", given / "f"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert "supported" in done.stderr
    assert (given / "f").read_bytes() == given.keys.get("f") == content(20_000)
