"""Where the process may have no more threads (`pids.max`), every request is answered anyhow."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from fusefs.interface import Attributes, Caller
from fusefs.kernel.brief import BriefTurn, Watch
from fusefs.kernel.inflight import InFlight
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import KernelSide
from tests.fusefs.kernel.memory import Memory
from tests.fusefs.kernel.test_session import FILE
from tests.waiting import until

Refuse = Callable[..., Callable[[], None]]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Have threads of a name not start, as at the limit; what it returns ends that.

    `meanwhile` is called before it is known.
    """
    start = threading.Thread.start

    def begin(name: str, meanwhile: Callable[[], object] = lambda: None) -> Callable[[], None]:
        def refused(self: threading.Thread) -> None:
            if self.name == name:
                meanwhile()
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", refused)
        return lambda: monkeypatch.setattr(threading.Thread, "start", start)

    return begin


def test_without_relief_all_are_answered_once_one_is_free(
    kernel: KernelSide, memory: Memory, refuse: Refuse
) -> None:
    """More requests than readers; then another one is asked for again."""
    refuse("fuse-relief")
    gate = memory.gates["statfs"] = threading.Event()
    asked = {kernel.send(Opcode.STATFS) for _ in range(6)}  # of 4 readers
    until(lambda: memory.calls["statfs"] == 4)
    gate.set()
    assert {kernel.receive()[1] for _ in asked} == asked
    assert kernel.ok(Opcode.STATFS)


def test_without_a_watch_a_brief_request_is_like_any_other(
    kernel: KernelSide, memory: Memory, refuse: Refuse
) -> None:
    """Another reader listens at once, for nobody would see that this one takes long."""
    memory.mknod(1, "f", FILE, 0, Caller(0, 0))
    refuse("fuse-watch")
    gate = memory.gates["lookup"] = threading.Event()
    asked = {kernel.send(Opcode.LOOKUP, b"f\0") for _ in range(3)}
    assert kernel.ok(Opcode.STATFS)
    gate.set()
    assert {kernel.receive()[1] for _ in asked} == asked


def test_a_watch_that_could_not_start_is_tried_again(refuse: Refuse) -> None:
    """With the next request."""
    left: list[int] = []
    turn = BriefTurn(Watch())
    again = refuse("fuse-watch")
    assert not turn.answer(lambda: None, lambda: left.append(1))
    again()
    assert turn.answer(lambda: None, lambda: left.append(2))
    assert left == [1]


def test_who_comes_while_a_watch_is_started_is_not_unseen(refuse: Refuse) -> None:
    """Whether it starts isn't known before."""
    left: list[int] = []
    starting, go_on = threading.Event(), threading.Event()
    watch = Watch()
    refuse("fuse-watch", lambda: starting.set() or go_on.wait(10))

    def answer(number: int) -> None:
        BriefTurn(watch).answer(lambda: None, lambda: left.append(number))

    first, second = (threading.Thread(target=answer, args=[number]) for number in (1, 2))
    first.start()
    assert starting.wait(10)
    second.start()
    second.join(0.1)
    go_on.set()
    first.join(10)
    second.join(10)
    assert sorted(left) == [1, 2]


def test_who_listens_next_may_fail(memory: Memory) -> None:
    """That is no error of the request that waits."""
    answered: list[Attributes] = []
    turn = BriefTurn(Watch())

    def waits() -> None:
        turn.over()
        answered.append(memory.getattr(1))

    def fails() -> None:
        raise OSError("no more descriptors")

    assert not turn.answer(waits, fails)
    assert len(answered) == 1


def test_a_killed_caller_is_released_by_the_next_signal(refuse: Refuse) -> None:
    """The first one found no thread that looks after it."""
    given_up: list[int] = []
    waiting = InFlight(given_up.append, blind_seconds=0.0)
    waiting.begin(7, Opcode.READ, 0)
    again = refuse("fuse-interrupts")
    assert waiting.interrupt(7)
    again()
    assert waiting.interrupt(7)
    until(lambda: given_up == [7])
