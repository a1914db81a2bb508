"""Undo references and handles of an answer that the kernel didn't take.

The kernel doesn't know of them, so it will never release them.

Threading: any thread; no state.
"""

from fusefs.interface import Calls
from fusefs.kernel import wire
from fusefs.kernel.backing import NODE_MASK, Backings
from fusefs.kernel.request import Request
from fusefs.kernel.wire import Opcode

OF_NAMES = frozenset(
    {Opcode.LOOKUP, Opcode.MKNOD, Opcode.MKDIR, Opcode.SYMLINK, Opcode.LINK, Opcode.CREATE}
)


def undo(calls: Calls, backings: Backings, request: Request, answer: bytes | memoryview) -> None:
    """Release the references and the handle that the answer would have carried."""
    if request.opcode in OF_NAMES:
        _forget(calls, answer[: wire.ENTRY_OUT.size])
    if request.opcode == Opcode.READDIRPLUS:
        _forget_all(calls, memoryview(answer))
    if request.opcode in (Opcode.OPEN, Opcode.CREATE):
        handle = _handle(answer)
        backings.released(handle, request.kernel_id)
        calls.release(handle)
    if request.opcode == Opcode.OPENDIR:
        calls.releasedir(_handle(answer))


def _handle(answer: bytes | memoryview) -> int:
    return int(wire.OPEN_OUT.unpack(answer[-wire.OPEN_OUT.size :])[0])


def _forget(calls: Calls, entry: bytes | memoryview) -> None:
    node = int(wire.ENTRY_OUT.unpack(entry)[0]) & NODE_MASK
    if node:
        calls.forget(node, 1)


def _forget_all(calls: Calls, stream: memoryview) -> None:
    while stream:
        _forget(calls, stream[: wire.ENTRY_OUT.size])
        length = wire.DIRENT.unpack_from(stream, wire.ENTRY_OUT.size)[2]
        stream = stream[wire.record_size(length, wire.ENTRY_OUT.size + wire.DIRENT.size) :]
