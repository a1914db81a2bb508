"""Any bytes as a request: one answer at most, and the session lives."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusefs.interface import Caller
from fusefs.kernel import wire
from fusefs.kernel.session import SILENT
from fusefs.kernel.wire import Opcode
from tests.fusefs.kernel.kernelside import KernelSide
from tests.fusefs.kernel.memory import Memory

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
small = st.integers(0, 9)
number = small | st.sampled_from([1 << 31, (1 << 32) - 1])
large = small | st.sampled_from([1 << 48, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
names = st.binary(max_size=300).map(lambda name: name + b"\0")
ASKED = sorted(set(Opcode) - SILENT - {Opcode.INIT})


@pytest.fixture(scope="module")
def side() -> Iterator[KernelSide]:
    """One session for all examples: it must survive each."""
    memory = Memory()
    node = memory.mknod(1, "f", 0o100644, 0, Caller(0, 0)).node
    memory.mkdir(1, "d", 0o755, Caller(0, 0))
    for _ in range(3):
        memory.open(node, os.O_RDWR)
    # Content stays small however far a fuzzed offset lies.
    memory.limit = 1 << 20
    kernel = KernelSide(memory)
    kernel.init()
    yield kernel
    kernel.close()


def answered(side: KernelSide, unique: int) -> None:
    """Expect one well-formed answer with a plausible errno."""
    error, answer_to, _ = side.receive()
    assert answer_to == unique and -512 < error <= 0


@FUZZ
@given(st.sampled_from(ASKED), large, st.binary(max_size=400))
def test_random_bodies(side: KernelSide, opcode: Opcode, node: int, body: bytes) -> None:
    """Each known opcode with noise behind its header."""
    answered(side, side.send(opcode, body, node))


@FUZZ
@given(st.sampled_from(ASKED), st.lists(number, max_size=24), st.lists(names, max_size=3))
def test_plausible_bodies(
    side: KernelSide, opcode: Opcode, words: list[int], strings: list[bytes]
) -> None:
    """Small numbers where handles and sizes are expected, and names behind them."""
    body = b"".join(word.to_bytes(4, "little") for word in words) + b"".join(strings)
    answered(side, side.send(opcode, body, 2))


@FUZZ
@given(st.integers(54, 1 << 31), st.binary(max_size=64))
def test_unknown_opcodes(side: KernelSide, opcode: int, body: bytes) -> None:
    """ENOSYS, whatever they carry."""
    unique = side.send(opcode, body)
    assert side.receive()[1] == unique


@FUZZ
@given(st.binary(min_size=1, max_size=wire.IN_HEADER.size - 1))
def test_bytes_without_a_header(side: KernelSide, message: bytes) -> None:
    """Dropped; the next request is answered."""
    side.raw(message)
    assert side.silent()


@FUZZ
@given(st.sampled_from(sorted(SILENT - {Opcode.INTERRUPT})), st.binary(max_size=200), large)
def test_requests_without_an_answer(
    side: KernelSide, opcode: Opcode, body: bytes, node: int
) -> None:
    """However broken, they get none."""
    side.send(opcode, body, node & ~1 << 1)
    assert side.silent()
