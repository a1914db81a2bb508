"""Small reads of what is in memory: answered by the reader that listens, which listens again."""

import errno
import os
import threading

import pytest

from fusefs.errors import Unavailable
from fusefs.interface import Caller
from fusefs.kernel import wire
from fusefs.kernel.busypoll import ROW
from fusefs.kernel.messages import SMALL
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import KernelSide, opened
from tests.fusefs.kernel.memory import Memory
from tests.fusefs.kernel.test_session import FILE, burst, readers
from tests.waiting import until

CONTENT = bytes(range(251)) * 200


@pytest.fixture
def handle(kernel: KernelSide, memory: Memory) -> int:
    """A file with `CONTENT`, open for reading."""
    made, made_handle = memory.create(1, "f", FILE, os.O_RDWR, Caller(0, 0))
    memory.write(made_handle.handle, 0, CONTENT)
    memory.calls.clear()
    return opened(kernel.ok(Opcode.OPEN, wire.OPEN_IN.pack(os.O_RDONLY, 0), made.node))[0]


def read(handle: int, offset: int, size: int) -> bytes:
    """Lay out a READ."""
    return wire.READ_IN.pack(handle, offset, size, 0, 0, 0, 0)


@pytest.mark.parametrize("at_once", [True, False])
def test_an_answer_is_the_same_at_once_and_later(
    kernel: KernelSide, memory: Memory, handle: int, at_once: bool
) -> None:
    """Bytes, an end of the file that cuts them short, nothing behind it; each is counted."""
    memory.at_once = at_once
    before = kernel.session.answered()
    for offset, size in ((0, 4096), (1000, 17), (len(CONTENT) - 5, 4096), (len(CONTENT), 4096)):
        assert kernel.ok(Opcode.READ, read(handle, offset, size)) == CONTENT[offset:][:size]
    assert kernel.session.answered() == before + 4


def test_a_large_read_is_not_answered_by_the_only_listener(
    kernel: KernelSide, memory: Memory, handle: int
) -> None:
    """Copying it takes long, and is done beside other requests."""
    memory.at_once = True
    asked: list[int] = []
    now = memory.read_now
    memory.read_now = lambda *what: asked.append(len(what[2])) or now(*what)  # type: ignore
    for size in (SMALL, SMALL + 1):
        assert kernel.ok(Opcode.READ, read(handle, 0, size)) == CONTENT[:size]
    assert asked == [SMALL]


def test_an_error_is_left_to_the_usual_way(kernel: KernelSide, memory: Memory, handle: int) -> None:
    """It becomes the errno of the reply there, and the readers go on."""

    def broken(*_: object) -> int:
        raise Unavailable("the disk is gone")

    memory.read_now = broken  # type: ignore[method-assign]
    assert kernel.ok(Opcode.READ, read(handle, 3, 4)) == CONTENT[3:7]
    memory.at_once = True
    assert kernel.error(Opcode.READ, read(handle + 99, 0, 4)) == errno.EBADF


def test_one_reader_is_left_while_nothing_waits_and_others_come_back(
    kernel: KernelSide, memory: Memory, handle: int
) -> None:
    """Readers that take turns would wait for each other; requests that wait have one each."""
    others = readers() - {each for each in readers() if each in burst(kernel, memory)}
    memory.at_once = True

    def ours() -> set[threading.Thread]:
        return readers() - others

    def alone() -> bool:
        for _ in range(ROW):
            kernel.ok(Opcode.READ, read(handle, 0, 8))
        return len(ours()) == 1

    until(alone)
    assert len(burst(kernel, memory)) >= 4
