"""Writing: what is closed is in the store, byte for byte."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fusefs.mounted.conftest import Place
from tests.fusefs.mounted.test_read import MIB, SIZES, content

ONE_DRIVER = pytest.mark.one_driver


def large(*values: int) -> list[object]:
    """Return sizes whose parts are put together below the drivers."""
    return [pytest.param(value, marks=ONE_DRIVER) for value in values]


@pytest.mark.parametrize("size", SIZES)
def test_a_closed_file_is_an_object(here: Place, size: int) -> None:
    """Single and multipart uploads: the object has the content, the file reads it back."""
    (here / "f").write_bytes(content(size))
    assert here.keys.get("f") == content(size)
    assert (here / "f").read_bytes() == content(size)
    assert (here / "f").stat().st_size == size


@pytest.mark.timeout(180)
def test_a_large_file_in_small_writes(here: Place) -> None:
    """40 MiB written in 4 KiB to 1 MiB blocks."""
    data, position, dice = content(40 * MIB), 0, random.Random(3)
    with (here / "f").open("wb", buffering=0) as file:
        while position < len(data):
            position += file.write(data[position : position + dice.randrange(4096, MIB)])
    assert here.keys.get("f") == data


def test_fsync_makes_it_an_object_before_close(here: Place) -> None:
    """After fsync returns, the store has what was written so far."""
    with (here / "f").open("wb", buffering=0) as file:
        file.write(b"first")
        os.fsync(file.fileno())
        assert here.keys.get("f") == b"first"
        file.write(b" second")
        os.fsync(file.fileno())
        assert here.keys.get("f") == b"first second"
        file.write(b" third")
    assert here.keys.get("f") == b"first second third"


def test_readers_see_what_is_not_closed_yet(here: Place) -> None:
    """All descriptors of one file in one mount see one content and one size."""
    with (here / "f").open("wb", buffering=0) as writer, (here / "f").open("rb", 0) as reader:
        writer.write(b"hello")
        assert reader.read() == b"hello"
        assert (here / "f").stat().st_size == 5
        writer.seek(1)
        writer.write(b"E")
        reader.seek(0)
        assert reader.read() == b"hEllo"


@pytest.mark.parametrize("size", [0, 10, *large(5 * MIB, 20 * MIB)])
def test_append(given: Place, size: int) -> None:
    """O_APPEND goes to the end, whatever the position, on old objects of any size."""
    given.keys.put("f", content(size))
    for part in (b"one", b"two" * 1000):
        with (given / "f").open("ab", buffering=0) as file:
            file.seek(0)
            file.write(part)
    assert given.keys.get("f") == content(size) + b"one" + b"two" * 1000


def test_two_appenders_lose_nothing(here: Place) -> None:
    """Two open O_APPEND descriptors write in turns: every record is there, in order."""
    with (here / "f").open("ab", 0) as first, (here / "f").open("ab", 0) as second:
        for number in range(50):
            (first, second)[number % 2].write(b"%04d\n" % number)
    assert here.keys.get("f") == b"".join(b"%04d\n" % number for number in range(50))


@pytest.mark.parametrize("old", [0, 100, *large(6 * MIB, 18 * MIB)])
@pytest.mark.parametrize("new", [0, 1, *large(5 * MIB + 1, 24 * MIB)])
@pytest.mark.parametrize("is_open", [False, True])
def test_truncate(given: Place, old: int, new: int, is_open: bool) -> None:
    """Shorter cuts, longer adds zeros, by path and by descriptor."""
    given.keys.put("f", content(old))
    if is_open:
        with (given / "f").open("rb+") as file:
            file.truncate(new)
            assert os.fstat(file.fileno()).st_size == new
    else:
        os.truncate(given / "f", new)
    assert given.keys.get("f") == content(old)[:new].ljust(new, b"\0")


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 10), (5, 1), (6 * MIB, 100), (10 * MIB - 3, 7), (19 * MIB, 3 * MIB), (20 * MIB - 1, 1)],
)
@ONE_DRIVER
def test_overwrite_in_place(given: Place, offset: int, length: int) -> None:
    """Bytes in the middle of a large object change, all others stay."""
    old, new = content(20 * MIB), content(length, 9)
    given.keys.put("f", old)
    with (given / "f").open("rb+", buffering=0) as file:
        file.seek(offset)
        file.write(new)
    assert given.keys.get("f") == old[:offset] + new + old[offset + length :]


@ONE_DRIVER
def test_scattered_writes_to_an_old_object(given: Place) -> None:
    """Many small ranges all over, overlapping and out of order, and a hole past the end."""
    model, dice = bytearray(content(23 * MIB)), random.Random(5)
    given.keys.put("f", bytes(model))
    with (given / "f").open("rb+", buffering=0) as file:
        for number in range(100):
            offset, part = dice.randrange(len(model)), content(dice.randrange(1, 60_000), number)
            file.seek(offset)
            file.write(part)
            model[offset : offset + len(part)] = part
        file.seek(len(model) + MIB)
        file.write(b"end")
    assert given.keys.get("f") == bytes(model) + bytes(MIB) + b"end"


def test_holes_read_as_zero(here: Place) -> None:
    """Writing past the end leaves zeros, before and after close."""
    with (here / "f").open("wb+", buffering=0) as file:
        file.seek(3 * MIB)
        file.write(b"x")
        file.seek(0)
        assert file.read() == bytes(3 * MIB) + b"x"
    assert here.keys.get("f") == bytes(3 * MIB) + b"x"


def test_o_trunc_and_o_excl(given: Place) -> None:
    """O_TRUNC empties an old object; O_EXCL refuses it."""
    given.keys.put("f", b"old content")
    with pytest.raises(FileExistsError):
        os.open(given / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.close(os.open(given / "f", os.O_WRONLY | os.O_TRUNC))
    assert given.keys.get("f") == b""


def test_a_written_file_that_was_opened_twice_is_whole(here: Place) -> None:
    """dup'd and separately opened writers: the last close leaves everything in the store."""
    first = os.open(here / "f", os.O_CREAT | os.O_WRONLY, 0o644)
    second = os.dup(first)
    third = os.open(here / "f", os.O_WRONLY)
    os.write(first, b"1111")
    os.pwrite(third, b"3333", 8)
    os.close(first)
    os.write(second, b"2222")
    os.close(second)
    os.close(third)
    assert here.keys.get("f") == b"111122223333"


def test_a_child_writes_to_an_inherited_descriptor(here: Place) -> None:
    """A shell's redirection: the descriptor passes through fork and exec."""
    with (here / "f").open("wb") as file:
        subprocess.run(["sh", "-c", "echo one; echo two"], stdout=file, check=True, timeout=30)
    assert here.keys.get("f") == b"one\ntwo\n"


def test_mapped_memory_is_written_and_read(given: Place) -> None:
    """mmap: msync and close bring changed pages into the object."""
    given.keys.put("f", content(3 * MIB))
    script = """
import mmap, sys
with open(sys.argv[1], "rb+") as file, mmap.mmap(file.fileno(), 0) as view:
    assert view[:4] == bytes.fromhex(sys.argv[2])
    view[100:104] = b"1234"
    view.flush()
    view[2_000_000:2_000_004] = b"5678"
"""
    # In a child: a page fault that hangs would keep this interpreter's lock.
    first = content(3 * MIB)[:4].hex()
    subprocess.run([sys.executable, "-c", script, given / "f", first], check=True, timeout=60)
    expected = bytearray(content(3 * MIB))
    expected[100:104], expected[2_000_000:2_000_004] = b"1234", b"5678"
    assert given.keys.get("f") == bytes(expected)


def test_many_files_at_once(here: Place) -> None:
    """Sixteen threads write files of their own; all arrive."""

    def write(number: int) -> None:
        (here / f"f{number}").write_bytes(content(200_000 + number, number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(64)))
    for number in range(64):
        assert here.keys.get(f"f{number}") == content(200_000 + number, number)


def test_threads_write_parts_of_one_file(here: Place) -> None:
    """Parallel pwrite to disjoint ranges of one descriptor."""
    data, fd = content(24 * MIB), os.open(here / "f", os.O_CREAT | os.O_RDWR, 0o644)
    with ThreadPoolExecutor(8) as pool:
        starts = list(range(0, len(data), 300_000))
        random.Random(1).shuffle(starts)
        list(pool.map(lambda at: os.pwrite(fd, data[at : at + 300_000], at), starts))
    os.close(fd)
    assert here.keys.get("f") == data


@ONE_DRIVER
def test_no_leftover_uploads(here: Place) -> None:
    """Multipart uploads are completed or aborted, never left to be paid for."""
    (here / "f").write_bytes(content(40 * MIB))
    (here / "f").unlink()
    assert here.keys.uploads() == []


def test_copy_file_range(given: Place) -> None:
    """Copying inside the mount gives the same bytes."""
    given.keys.put("from", content(12 * MIB))
    with (given / "from").open("rb") as source, (given / "to").open("wb") as target:
        left = 12 * MIB
        while left:
            left -= os.copy_file_range(source.fileno(), target.fileno(), left)
    assert given.keys.get("to") == content(12 * MIB)


def test_fallocate_extends_with_zeros(here: Place) -> None:
    """posix_fallocate makes room that reads as zeros."""
    with (here / "f").open("wb") as file:
        file.write(b"abc")
        file.flush()
        os.posix_fallocate(file.fileno(), 0, 1000)
    assert here.keys.get("f") == b"abc".ljust(1000, b"\0")


@pytest.mark.parametrize(
    ("mode", "size"),
    [("--keep-size", 300_000), ("--punch-hole", 300_000), ("--zero-range", 400_000)],
)
def test_fallocate_keeps_size_and_punches_holes(
    given: Place, driver: str, mode: str, size: int
) -> None:
    """From 250 000 to 400 000: nothing, zeros up to the end, or past it; no other byte changes.

    libfuse 2 has no such call through fusepy: there it is EOPNOTSUPP.
    """
    given.keys.put("f", content(300_000))
    command = ["fallocate", mode, "-o", "250000", "-l", "150000", given / "f"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    expected = content(300_000)
    if driver == "fusepy":
        assert "supported" in done.stderr
    elif mode != "--keep-size":
        expected = expected[:250_000].ljust(size, b"\0")
    assert (done.returncode == 0) is (driver != "fusepy"), done.stderr
    assert given.keys.get("f") == expected


def test_an_object_has_no_holes(given: Place) -> None:
    """SEEK_DATA is where one is, SEEK_HOLE the end."""
    given.keys.put("f", bytes(100_000))
    with (given / "f").open("rb") as file:
        assert os.lseek(file.fileno(), 5000, os.SEEK_DATA) == 5000
        assert os.lseek(file.fileno(), 5000, os.SEEK_HOLE) == 100_000


def test_direct_and_synchronous_writes(here: Place) -> None:
    """O_SYNC: each write is in the store when it returns. O_DIRECT is accepted."""
    fd = os.open(here / "f", os.O_CREAT | os.O_WRONLY | os.O_SYNC, 0o644)
    os.write(fd, b"now")
    assert here.keys.get("f") == b"now"
    os.close(fd)
    fd = os.open(here / "f", os.O_RDONLY | os.O_DIRECT)
    assert os.read(fd, 4096) == b"now"
    os.close(fd)


def test_writing_to_a_directory_or_a_reader(here: Place) -> None:
    """EISDIR and EBADF, as everywhere."""
    with pytest.raises(IsADirectoryError):
        os.open(here.path, os.O_WRONLY)
    (here / "f").write_bytes(b"x")
    fd = os.open(here / "f", os.O_RDONLY)
    with pytest.raises(OSError) as caught:
        os.write(fd, b"y")
    os.close(fd)
    assert caught.value.errno == errno.EBADF
