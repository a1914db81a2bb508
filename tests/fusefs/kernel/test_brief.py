"""Brief requests: answered by the reader that listens; where one waits, another reader listens."""

from __future__ import annotations

import os
import threading

import pytest

from fusefs import waiting
from fusefs.interface import Attributes, Caller
from fusefs.kernel import wire
from fusefs.kernel.brief import BriefTurn, Watch, is_brief
from fusefs.kernel.messages import SMALL
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import KernelSide
from tests.fusefs.kernel.memory import Memory
from tests.fusefs.kernel.test_session import FILE
from tests.waiting import until


def request(opcode: int, body: bytes = b"") -> memoryview:
    """Lay out a request."""
    size = wire.IN_HEADER.size + len(body)
    return memoryview(wire.IN_HEADER.pack(size, opcode, 2, 1, 0, 0, 0, 0, 0) + body)


@pytest.mark.parametrize(
    ("opcode", "body", "brief"),
    [
        (Opcode.LOOKUP, b"name\0", True),
        (Opcode.IOCTL, b"", True),
        (Opcode.OPEN, wire.OPEN_IN.pack(os.O_RDONLY | os.O_NOFOLLOW, 0), True),
        (Opcode.OPEN, wire.OPEN_IN.pack(os.O_RDWR, 0), False),
        (Opcode.OPEN, wire.OPEN_IN.pack(os.O_RDONLY | os.O_TRUNC, 0), False),
        (Opcode.OPEN, b"", False),
        (Opcode.RELEASE, wire.RELEASE_IN.pack(7, os.O_RDONLY, 0, 0), True),
        (Opcode.RELEASE, wire.RELEASE_IN.pack(7, os.O_WRONLY, 0, 0), False),
        (Opcode.READ, wire.READ_IN.pack(7, 0, SMALL, 0, 0, 0, 0), True),
        (Opcode.READ, wire.READ_IN.pack(7, 0, SMALL + 1, 0, 0, 0, 0), False),
        (Opcode.FSYNC, wire.FSYNC_IN.pack(7, 0, 0), False),
    ],
)
def test_what_only_looks_is_brief(opcode: int, body: bytes, brief: bool) -> None:
    """What changes a file waits for the store, what moves many bytes takes long."""
    assert is_brief(request(opcode, body)) == brief
    assert not is_brief(request(opcode, body)[: wire.IN_HEADER.size - 1])


@pytest.fixture
def looked(memory: Memory) -> list[threading.Thread]:
    """The threads that answered a LOOKUP, in a directory with a file `f`."""
    memory.mknod(1, "f", FILE, 0, Caller(0, 0))
    seen: list[threading.Thread] = []
    lookup = memory.lookup

    def noted(parent: int, name: str) -> Attributes:
        seen.append(threading.current_thread())
        return lookup(parent, name)

    memory.lookup = noted  # type: ignore[method-assign]
    return seen


def test_one_reader_answers_them_all(kernel: KernelSide, looked: list[threading.Thread]) -> None:
    """None is handed over, and readers that would listen beside it rest."""

    def alone() -> bool:
        looked.clear()
        for _ in range(20):
            kernel.ok(Opcode.LOOKUP, b"f\0")
        return len(set(looked)) == 1

    until(alone)


@pytest.mark.parametrize("says", [True, False])
def test_another_reader_listens_while_one_waits(
    kernel: KernelSide, memory: Memory, looked: list[threading.Thread], says: bool
) -> None:
    """At once where the waiting is told, after a moment where it isn't; all are answered."""
    lookup = memory.lookup

    def waits(parent: int, name: str) -> Attributes:
        if says:
            waiting.waits()
        return lookup(parent, name)

    memory.lookup = waits  # type: ignore[method-assign]
    for _ in range(3):
        gate = memory.gates["lookup"] = threading.Event()
        asked = {kernel.send(Opcode.LOOKUP, b"f\0") for _ in range(3)}
        assert kernel.ok(Opcode.STATFS)
        assert kernel.silent()
        gate.set()
        assert {kernel.receive()[1] for _ in asked} == asked
    assert len(set(looked[-3:])) == 3


def test_a_failing_one_is_answered_and_the_reader_goes_on(
    kernel: KernelSide, memory: Memory
) -> None:
    """With the errno that it has when another reader answers it."""

    def broken(parent: int, name: str) -> Attributes:
        raise ZeroDivisionError(f"{name} of {parent}")

    assert kernel.error(Opcode.LOOKUP, b"missing\0") == 2
    memory.lookup = broken  # type: ignore[method-assign]
    assert kernel.error(Opcode.LOOKUP, b"f\0") == 5
    assert kernel.ok(Opcode.STATFS)


class Left:
    """Counts how often another reader was to listen."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def test_a_turn_is_left_once() -> None:
    """However often it waits; and what others do afterwards tells nobody."""
    left = Left()
    turn = BriefTurn(Watch())

    def waits_twice() -> None:
        waiting.waits()
        waiting.waits()

    assert turn.answer(lambda: None, left) and left.count == 0
    assert not turn.answer(waits_twice, left) and left.count == 1
    assert turn.answer(lambda: None, left)
    waiting.waits()
    turn.over()
    assert left.count == 1


def test_who_comes_late_leaves_the_turn_that_took_long() -> None:
    """The watch may be slow: the reader has the buffer of its next turn then, and keeps it."""
    turn, first, second = BriefTurn(Watch()), Left(), Left()
    late, go_on = threading.Event(), threading.Event()

    def leave() -> None:
        late.set()
        assert go_on.wait(10)
        first()

    def takes_long() -> None:
        watch.start()
        assert late.wait(10)

    watch = threading.Thread(target=turn.over)
    assert not turn.answer(takes_long, leave)

    def meanwhile() -> None:
        go_on.set()
        watch.join()

    assert turn.answer(meanwhile, second)
    assert (first.count, second.count) == (1, 0)


def test_the_watch_ends_what_takes_long_and_itself_when_nothing_does() -> None:
    """Its thread is gone after a while without requests, and back with the next one."""
    left, watch = Left(), Watch(long=0.001, idle=0.02)
    turn = BriefTurn(watch)
    watch.add(turn)

    def looks() -> bool:
        return any(each.name == "fuse-watch" for each in threading.enumerate())

    for count in (1, 2):
        assert not turn.answer(lambda count=count: until(lambda: left.count == count), left)  # type: ignore[misc]
        until(lambda: not looks())
    watch.remove(turn)
    done = threading.Event()
    assert turn.answer(lambda: done.wait(0.02), left) and left.count == 2


def test_a_lock_that_is_free_is_not_waited_for() -> None:
    """Nor one that the thread has already; one that another thread has is."""
    left, lock = Left(), threading.RLock()
    turn = BriefTurn(Watch())

    def look() -> None:
        waiting.waits_if_held(lock)

    with lock:
        assert turn.answer(look, left)
        other = threading.Thread(target=turn.answer, args=[look, left])
        other.start()
        other.join()
    assert left.count == 1
    assert turn.answer(look, left)
