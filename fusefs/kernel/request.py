"""One request as read from the device: the header decoded, the body still raw.

The body is a view of the reader thread's buffer: valid until the reply is sent, no longer. One
thread owns a request from beginning to end.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from fusefs.interface import Attributes, Caller, Calls
from fusefs.kernel import encode, wire
from fusefs.kernel.backing import NODE_MASK, Backings
from fusefs.kernel.negotiation import Negotiated

HEADER = wire.IN_HEADER.size


class Request:
    """A decoded header, the body after it, and a buffer for a large answer.

    `kernel_id` is the node's id in the kernel (see `backing`), `node` its number here.
    """

    __slots__ = ("_scratch", "body", "gid", "kernel_id", "node", "opcode", "pid", "uid", "unique")

    def __init__(self, message: memoryview, scratch: Callable[[int], memoryview]) -> None:
        size, self.opcode, self.unique, self.kernel_id, self.uid, self.gid, self.pid, extra, _ = (
            wire.IN_HEADER.unpack_from(message)
        )
        self.node = self.kernel_id & NODE_MASK
        self.body = message[HEADER : size - extra * 8]
        self._scratch = scratch
        if size != len(message) or extra * 8 > size - HEADER:
            raise ValueError(f"{len(message)} bytes read of a request of {size}")

    @property
    def caller(self) -> Caller:
        """Return the caller."""
        return Caller(self.uid, self.gid, self.pid)

    def name(self, start: int = 0) -> str:
        """Return the NUL-terminated string at `start` of the body."""
        return self.names(1, start)[0]

    def names(self, count: int, start: int = 0) -> list[str]:
        """Return `count` NUL-terminated strings from `start` of the body; ValueError if fewer."""
        parts = bytes(self.body[start:]).split(b"\0", count)
        if len(parts) <= count or not all(parts[:count]):
            raise ValueError(f"a request without its {count} names")
        return [os.fsdecode(part) for part in parts[:count]]

    def scratch(self, size: int) -> memoryview:
        """Return a writable view of `size` bytes, to be sent as the answer."""
        return self._scratch(size)


@dataclass(frozen=True, slots=True)
class Context:
    """What every handler needs: the filesystem, the negotiated features, the passthrough state.

    `negative_ttl`: seconds the kernel may remember that a name isn't there. `size_changed` makes
    the kernel ask for a node's attributes again (by its kernel id).
    """

    calls: Calls
    negotiated: Negotiated
    backings: Backings
    negative_ttl: float = 0.0
    size_changed: Callable[[int], None] = lambda _: None

    def entry(self, attributes: Attributes) -> bytes:
        """Lay out the `fuse_entry_out` of a node."""
        number = self.backings.kernel_id(attributes.node, attributes.content)
        return encode.entry_out(attributes, number)

    def forget(self, node: int, lookups: int) -> None:
        """Take lookup references of the kernel back, and what is kept for a node it knows."""
        self.calls.forget(node, lookups)
        self.backings.forgotten(node, self.calls.known)


Answer = bytes | memoryview | None
Handler = Callable[[Request], Answer]
Handlers = dict[int, Handler]
EMPTY = b""
