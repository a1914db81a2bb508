"""The memory of large requests and answers: within its limit, whatever is under way."""

import ctypes
import mmap
import struct
import threading
from pathlib import Path

import pytest

from fusefs.interface import Caller
from fusefs.kernel import wire
from fusefs.kernel.messages import LEAST, Messages, Pool, request_size
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import SMALL, KernelSide, opened
from tests.fusefs.kernel.memory import Memory
from tests.waiting import until

MIB = 1 << 20
LARGE = b"x" * (60 << 10)


def side_with_a_file(memory: Memory) -> tuple[KernelSide, int, int]:
    """Return a session with as little memory as there can be, a node and a handle of it."""
    node = memory.mknod(1, "f", 0o100644, 0, Caller(0, 0)).node
    side = KernelSide(memory, memory=1)
    side.init()
    return side, node, opened(side.ok(Opcode.OPEN, wire.OPEN_IN.pack(2, 0), node))[0]


def test_small_requests_under_way_take_no_buffers() -> None:
    """Who waits for S3 has given its buffer to who listens."""
    memory = Memory()
    side, node, handle = side_with_a_file(memory)
    gate = memory.gates["fsync"] = threading.Event()
    waiting = {side.send(Opcode.FSYNC, wire.FSYNC_IN.pack(handle, 0, 0), node) for _ in range(4)}
    until(lambda: memory.calls["fsync"] == 4)
    assert side.session.messages.requests.made <= 4  # those that listen
    gate.set()
    assert {side.receive()[1] for _ in range(4)} == waiting
    side.close()


def test_large_writes_wait_where_all_buffers_are_taken() -> None:
    """No more are under way than there is memory for; the next ones follow as one ends."""
    memory = Memory()
    side, node, handle = side_with_a_file(memory)
    gate = memory.gates["write"] = threading.Event()
    body = wire.WRITE_IN.pack(handle, 0, len(LARGE), 0, 0, 0, 0) + LARGE
    fitting, more = LEAST // 2 - 1, 2  # the last buffer is for who listens
    waiting = {side.send(Opcode.WRITE, body, node) for _ in range(fitting + more)}
    until(lambda: memory.calls["write"])
    assert side.silent()  # a small request is read and answered all the same
    assert memory.calls["write"] <= fitting  # fewer where all threads listened when they came
    assert side.session.messages.bytes <= LEAST * (SMALL.max_request + 4096)
    gate.set()
    assert {side.receive()[1] for _ in range(fitting + more)} == waiting
    assert side.session.messages.bytes <= LEAST * (SMALL.max_request + 4096)
    side.close()


def test_a_buffer_is_waited_for() -> None:
    """Its memory stays what it was."""
    pool = Pool(4096, 1)
    first = pool.take()
    assert first is not None and pool.take(timeout=0.01) is None
    threading.Timer(0.05, pool.give, [first]).start()
    assert pool.take(timeout=5) is first
    assert pool.bytes == 4096


def in_memory(buffer: mmap.mmap) -> bool:
    """Return whether all pages of a buffer are there (bit 63 in Linux' pagemap)."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        pagemap.seek(address // mmap.PAGESIZE * 8)
        entries = pagemap.read(-(-len(buffer) // mmap.PAGESIZE) * 8)
    return all(entry >> 63 for (entry,) in struct.iter_unpack("<Q", entries))


def test_who_listens_has_memory_to_listen_with() -> None:
    """A worker that is killed at a page fault while it reads a request ends that with EIO."""
    messages = Messages(MIB + 4096, 1)
    buffers = [messages.requests.take() for _ in range(LEAST // 2)]
    assert all(buffer is not None and in_memory(buffer) for buffer in buffers)
    untouched = messages.answers.take()
    assert untouched is not None and not in_memory(untouched)


@pytest.mark.parametrize(
    ("memory", "size"), [(1, 128 << 10), (8 * MIB, 256 << 10), (32 * MIB, MIB), (1 << 40, MIB)]
)
def test_requests_are_smaller_where_memory_is_little(memory: int, size: int) -> None:
    """So that enough of them can be under way."""
    assert request_size(memory, MIB) == size
