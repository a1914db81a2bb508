"""Large reads from where the bytes are: spliced if that works, else answered the usual way."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusefs.interface import Extent
from fusefs.kernel import wire
from fusefs.kernel.mountcalls import READ_MOST
from fusefs.kernel.request import Request
from fusefs.kernel.splicing import LEAST, Splicing
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import KernelSide
from tests.fusefs.kernel.memory import Memory
from tests.waiting import until

SIZE = 4 << 20
DATA = os.urandom(SIZE)
HANDLE = 5


class Answers:
    """A file that stands for the device, and a splicing to it of `file`, opened by `memory`."""

    def __init__(self, root: Path, memory: Memory) -> None:
        (root / "file").write_bytes(DATA)
        self.file = os.open(root / "file", os.O_RDWR)
        self.path = root / "device"
        self.device = os.open(self.path, os.O_RDWR | os.O_CREAT)
        self.memory = memory
        self.splicing = Splicing(self.device, memory)
        self.released: list[Extent] = []

    def answered(self, size: int, *, of: int = -1, cut: int = 0, device: int = -1) -> bool:
        """Ask for `size` bytes of the file, or of descriptor `of`, `cut` more than there are."""
        offset = SIZE - size + cut
        extent = Extent(self.file if of < 0 else of, offset, size, lambda: None)
        noted = extent.then(lambda: self.released.append(extent))
        self.memory.extents[HANDLE] = noted
        if device >= 0:
            self.splicing._device = device
        return self.splicing.answered(read(size))

    @property
    def reply(self) -> bytes:
        """What the device was sent."""
        return self.path.read_bytes()


def read(size: int) -> Request:
    """Make a READ from the beginning."""
    body = wire.READ_IN.pack(HANDLE, 0, size, 0, 0, 0, 0)
    header = wire.IN_HEADER.pack(wire.IN_HEADER.size + len(body), Opcode.READ, 8, 1, 0, 0, 7, 0, 0)
    return Request(memoryview(header + body), lambda size: memoryview(bytearray(size)))


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    """With as many descriptors open at the end as at the beginning, and each extent released."""
    answers = Answers(tmp_path, Memory())
    before = len(os.listdir("/proc/self/fd"))
    yield answers
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(answers.file)
    os.close(answers.device)


@pytest.mark.parametrize("size", [LEAST, LEAST + 1, READ_MOST])
def test_a_reply_has_its_header_and_the_bytes(answers: Answers, size: int) -> None:
    """From a page's beginning or not; the largest fills the pipe with its pages."""
    assert answers.answered(size)
    assert answers.reply == wire.OUT_HEADER.pack(16 + size, 0, 8) + DATA[SIZE - size :]
    assert len(answers.released) == 1


def test_small_and_too_large_reads_are_left(answers: Answers) -> None:
    """Nobody is asked where their bytes are."""
    for size in (LEAST - 1, READ_MOST + 1):
        assert not answers.answered(size)
    assert answers.released == [] and answers.reply == b""


def test_pages_that_do_not_fit_are_left(answers: Answers) -> None:
    """The largest read from within a page has one page more than the pipe; nothing blocks."""
    extent = Extent(answers.file, 17, READ_MOST, lambda: None)
    answers.memory.extents[HANDLE] = extent
    assert not answers.splicing.answered(read(READ_MOST))
    assert answers.reply == b""
    assert answers.answered(READ_MOST)


def test_a_file_cut_short_from_outside_is_left(answers: Answers) -> None:
    """The usual way finds out what is missing; no reply has fewer bytes or zeros."""
    assert not answers.answered(LEAST, cut=1)
    assert answers.reply == b"" and len(answers.released) == 1
    assert answers.answered(LEAST)


def test_where_nothing_can_be_spliced_it_is_not_tried_again(answers: Answers) -> None:
    """To a file that is only appended to, for one; no descriptor is asked for any more."""
    appended = os.open(answers.path, os.O_WRONLY | os.O_APPEND)
    assert not answers.answered(LEAST, device=appended)
    os.close(appended)
    assert not answers.answered(LEAST, device=answers.device)
    assert answers.reply == b"" and len(answers.released) == 1


def test_a_mount_that_is_gone_is_answered(answers: Answers) -> None:
    """Nobody waits for the reply any more."""
    closed = os.dup(answers.device)
    os.close(closed)
    assert answers.answered(LEAST, device=closed)


def test_an_error_of_the_filesystem_is_left_to_the_usual_way(answers: Answers) -> None:
    """It becomes the errno of the reply there."""

    def broken(*_: object) -> Extent:
        raise OSError(errno.EIO, "the disk")

    answers.memory.extent = broken  # type: ignore[method-assign]
    assert not answers.splicing.answered(read(LEAST))


def test_an_error_at_the_release_costs_no_answer(kernel: KernelSide, memory: Memory) -> None:
    """The cache's file may be closed then; all that goes with the extent is released anyhow."""
    released: list[str] = []

    def broken() -> None:
        raise OSError(errno.EIO, "close of a cache file")

    short = os.memfd_create("short")  # so that it isn't spliced
    extent = Extent(short, 0, LEAST, broken).then(lambda: released.append("lease"))
    memory.extents[HANDLE] = extent
    kernel.send(Opcode.READ, wire.READ_IN.pack(HANDLE, 0, LEAST, 0, 0, 0, 0))
    assert kernel.receive()
    assert released == ["lease"]
    until(lambda: kernel.session.oldest_request() == 0.0)
    os.close(short)


@pytest.mark.mount
def test_a_mount_gives_the_bytes_of_the_file(mounted: Path, memory: Memory, tmp_path: Path) -> None:
    """Many requests at once, each from its place; the rest comes the usual way.

    The filesystem's own bytes are others, to see which way they took.
    """
    (tmp_path / "file").write_bytes(DATA)
    (mounted / "f").write_bytes(bytes(SIZE))
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    releases = threading.Semaphore(0)

    def extent(handle: int, offset: int, size: int) -> Extent:
        return Extent(descriptor, offset, min(size, SIZE - offset), lambda: releases.release())

    memory.extent = extent  # type: ignore[method-assign]
    memory.calls.clear()
    file = os.open(mounted / "f", os.O_RDONLY | os.O_DIRECT)
    size = 512 << 10

    def compare(offset: int) -> bool:
        return os.pread(file, size, offset) == DATA[offset:][:size]

    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(compare, range(0, SIZE, size), timeout=20))
        assert all(releases.acquire(timeout=5) for _ in range(SIZE // size))
        assert memory.calls["read_into"] == 0
        os.lseek(file, 0, os.SEEK_SET)
        assert os.pread(file, 4096, 8192) == bytes(4096)
    finally:
        os.close(file)
        os.close(descriptor)
