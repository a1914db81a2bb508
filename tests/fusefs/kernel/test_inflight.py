"""Callers that get a signal: who is being killed is let go, nobody else notices."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable

import pytest

from fusefs.interface import Caller
from fusefs.kernel import wire
from fusefs.kernel.readers import RELIEF
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import KernelSide, opened
from tests.fusefs.kernel.memory import Memory

BLIND = 0  # the pid of a caller in another process namespace


def soon(holds: Callable[[], bool]) -> bool:
    """Say whether something that another thread does comes true within seconds."""
    deadline = time.monotonic() + 5
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def interrupt(kernel: KernelSide, unique: int, memory: Memory, call: str) -> None:
    """Say that the caller of a request got a signal, once the filesystem works on it."""
    assert soon(lambda: memory.calls[call] > 0)
    kernel.send(Opcode.INTERRUPT, wire.INTERRUPT_IN.pack(unique), 0, unique=unique | 1)


@pytest.fixture
def file(memory: Memory) -> int:
    """A file in the root."""
    return memory.mknod(1, "f", 0o100644, 0, Caller(0, 0)).node


def test_a_caller_that_can_not_be_seen_is_let_go_after_a_while(
    kernel: KernelSide, memory: Memory
) -> None:
    """EINTR, once; the answer that comes later is nobody's."""
    gate = memory.gates["statfs"] = threading.Event()
    unique = kernel.send(Opcode.STATFS, pid=BLIND)
    interrupt(kernel, unique, memory, "statfs")
    assert kernel.receive() == (-errno.EINTR, unique, b"")
    gate.set()
    assert kernel.silent()


def test_a_caller_that_is_seen_and_lives_gets_its_answer(
    kernel: KernelSide, memory: Memory
) -> None:
    """Its signal was another one: what a file system does isn't interrupted."""
    gate = memory.gates["statfs"] = threading.Event()
    unique = kernel.send(Opcode.STATFS, pid=os.getpid())
    interrupt(kernel, unique, memory, "statfs")
    assert kernel.silent()
    time.sleep(0.6)  # twice as long as one that can't be seen
    gate.set()
    assert kernel.receive()[:2] == (0, unique)


def test_an_interrupt_that_comes_before_its_request_is_sent_again(kernel: KernelSide) -> None:
    """Two readers: one has read the request and not noted it yet. EAGAIN asks for that."""
    kernel.send(Opcode.INTERRUPT, wire.INTERRUPT_IN.pack(40), 0, unique=41)
    assert kernel.receive() == (-errno.EAGAIN, 41, b"")


def test_handles_of_opens_that_were_given_up_are_closed(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """The kernel will never release what it never heard of."""
    gate = memory.gates["open"] = threading.Event()
    unique = kernel.send(Opcode.OPEN, wire.OPEN_IN.pack(os.O_RDONLY, 0), file, pid=BLIND)
    interrupt(kernel, unique, memory, "open")
    assert kernel.receive()[0] == -errno.EINTR
    gate.set()
    assert soon(lambda: memory.calls["release"] == 1) and memory.handles == {}


def test_references_of_lookups_that_were_given_up_are_given_back(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """Likewise."""
    before = memory.lookups[file]
    gate = memory.gates["lookup"] = threading.Event()
    unique = kernel.send(Opcode.LOOKUP, b"f\0", pid=BLIND)
    interrupt(kernel, unique, memory, "lookup")
    assert kernel.receive()[0] == -errno.EINTR
    gate.set()
    assert soon(lambda: memory.calls["forget"] == 1) and memory.lookups[file] == before


def test_references_of_a_directory_s_entries_are_given_back(
    kernel: KernelSide, memory: Memory, file: int
) -> None:
    """READDIRPLUS looks up each name that it tells."""
    before = memory.lookups[file]
    handle = opened(kernel.ok(Opcode.OPENDIR, bytes(8)))[0]
    gate = memory.gates["readdir"] = threading.Event()
    body = wire.READ_IN.pack(handle, 0, 4096, 0, 0, 0, 0)
    unique = kernel.send(Opcode.READDIRPLUS, body, pid=BLIND)
    interrupt(kernel, unique, memory, "readdir")
    assert kernel.receive()[0] == -errno.EINTR
    gate.set()
    assert soon(lambda: memory.calls["forget"] == 1) and memory.lookups[file] == before


def test_a_file_that_was_created_for_nobody_is_closed(kernel: KernelSide, memory: Memory) -> None:
    """It stays, as it would if its caller had been killed a moment later."""
    gate = memory.gates["create"] = threading.Event()
    body = wire.CREATE_IN.pack(os.O_WRONLY, 0o644, 0, 0) + b"new\0"
    unique = kernel.send(Opcode.CREATE, body, pid=BLIND)
    interrupt(kernel, unique, memory, "create")
    assert kernel.receive()[0] == -errno.EINTR
    gate.set()
    assert soon(lambda: memory.calls["release"] == 1) and memory.handles == {}
    node = memory.lookup(1, "new").node
    assert memory.lookups[node] == 1


def test_interrupts_are_read_when_there_can_be_no_more_readers(
    kernel: KernelSide, memory: Memory
) -> None:
    """Whatever else waits: of a request that is worked on, and of one that isn't yet."""
    gate = memory.gates["statfs"] = threading.Event()
    waiting = [kernel.send(Opcode.STATFS, pid=BLIND) for _ in range(RELIEF * 4 + 20)]
    killed = waiting[0], waiting[-1]
    assert soon(lambda: memory.calls["statfs"] == RELIEF * 4 - 1)
    for unique in killed:
        kernel.send(Opcode.INTERRUPT, wire.INTERRUPT_IN.pack(unique), 0, unique=unique | 1)
    assert {kernel.receive() for _ in killed} == {(-errno.EINTR, each, b"") for each in killed}
    gate.set()
    others = set(waiting) - set(killed)
    assert {kernel.receive()[1] for _ in others} == others
    assert kernel.silent()
    assert memory.calls["statfs"] == len(waiting) - 1, "what nobody waits for isn't begun"


def test_interrupts_are_read_when_all_readers_wait(kernel: KernelSide, memory: Memory) -> None:
    """A stalled store must not make its callers deaf, however many there are."""
    gate = memory.gates["statfs"] = threading.Event()
    waiting = [kernel.send(Opcode.STATFS, pid=BLIND) for _ in range(6)]
    interrupt(kernel, waiting[0], memory, "statfs")
    assert kernel.receive() == (-errno.EINTR, waiting[0], b"")
    gate.set()
    assert {kernel.receive()[1] for _ in waiting[1:]} == set(waiting[1:])
