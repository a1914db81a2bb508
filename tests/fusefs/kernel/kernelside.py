"""The kernel's end of the protocol over a socket pair: what protocol tests speak.

SOCK_SEQPACKET keeps message borders, as /dev/fuse does.
"""

import itertools
import socket
import struct
import threading

from fusefs.kernel import wire
from fusefs.kernel.backing import Backings
from fusefs.kernel.negotiation import Negotiated, Wishes
from fusefs.kernel.notify import Notifier
from fusefs.kernel.session import KernelSession, SessionSettings
from fusefs.kernel.wire import Init, Opcode
from tests.fusefs.kernel.memory import Memory

SMALL = Wishes(max_request=64 << 10)
ALL_FLAGS = (1 << 44) - 1


class KernelSide:
    """A session over `calls`, and the other end of its descriptor."""

    def __init__(
        self,
        calls: Memory,
        negotiated: Negotiated | None = None,
        backings: Backings | None = None,
        negative_ttl: float = 0.0,
        memory: int = 32 << 20,
        rest: float = 0.1,
    ) -> None:
        self.agreed: list[Negotiated] = []
        self._socket, self._device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(5)
        self._uniques = itertools.count(2, 2)
        self._receiving = threading.Lock()
        backings = backings or Backings(None)
        self.notifier = Notifier(self._device.fileno(), backings.kernel_ids)
        self.session = KernelSession(
            self._device.fileno(),
            calls,
            SessionSettings(
                wishes=SMALL,
                max_readers=4,
                spare_readers=2,
                rest=rest,
                memory=memory,
                negative_ttl=negative_ttl,
                blind_seconds=0.3,
            ),
            self.notifier,
            backings,
            negotiated=negotiated,
            on_negotiated=self.agreed.append,
        )
        self.session.start(resend=negotiated is not None)

    def init(self, flags: int = ALL_FLAGS, minor: int = 45) -> tuple[int, ...]:
        """Offer INIT and return the fields of `fuse_init_out`."""
        body = wire.INIT_IN_EXT.pack(7, minor, 1 << 17, flags & 0xFFFFFFFF, flags >> 32)
        return wire.INIT_OUT.unpack(self.ok(Opcode.INIT, body, node=0))

    def send(
        self,
        opcode: int,
        body: bytes = b"",
        node: int = 1,
        unique: int | None = None,
        pid: int = 77,
    ) -> int:
        """Send one request; return its unique."""
        unique = next(self._uniques) if unique is None else unique
        size = wire.IN_HEADER.size + len(body)
        header = wire.IN_HEADER.pack(size, opcode, unique, node, 1000, 1001, pid, 0, 0)
        self._socket.send(header + body)
        return unique

    def raw(self, message: bytes) -> None:
        """Send any bytes."""
        self._socket.send(message)

    def receive(self) -> tuple[int, int, bytes]:
        """Return error, unique and body of the next message, whose length is checked."""
        message = self._socket.recv(1 << 17)
        size, error, unique = wire.OUT_HEADER.unpack_from(message)
        assert size == len(message)
        return error, unique, message[wire.OUT_HEADER.size :]

    def ask(self, opcode: int, body: bytes = b"", node: int = 1) -> tuple[int, bytes]:
        """Send a request and return the error (negative errno or 0) and body of its reply."""
        unique = self.send(opcode, body, node)
        error, answered, answer = self.receive()
        assert answered == unique
        return error, answer

    def ok(self, opcode: int, body: bytes = b"", node: int = 1) -> bytes:
        """Ask and return the body of a reply without error."""
        error, answer = self.ask(opcode, body, node)
        assert error == 0, f"{Opcode(opcode).name}: errno {-error}"
        return answer

    def error(self, opcode: int, body: bytes = b"", node: int = 1) -> int:
        """Ask and return the positive errno of a reply, which then carries nothing else."""
        error, answer = self.ask(opcode, body, node)
        assert answer == b""
        return -error

    def silent(self) -> bool:
        """Say whether nothing has come: a GETATTR asked now is the next answer."""
        return len(self.ok(Opcode.GETATTR, wire.GETATTR_IN.pack(0, 0, 0))) == wire.ATTR_OUT.size

    def close(self) -> None:
        """Hang up, and wait for the session's threads."""
        self._socket.close()
        self.session.wait(5)
        self._device.close()


def entry(answer: bytes) -> tuple[int, int]:
    """Return node id and mode of a `fuse_entry_out`."""
    fields = wire.ENTRY_OUT.unpack(answer[: wire.ENTRY_OUT.size])
    return fields[0], fields[15]


def opened(answer: bytes) -> tuple[int, int, int]:
    """Return handle, open flags and backing id at the end of an answer."""
    return struct.unpack("=QIi", answer[-wire.OPEN_OUT.size :])


def resumed() -> Negotiated:
    """Return what a predecessor agreed with a kernel that has everything."""
    return Negotiated(45, int(Init.HAS_RESEND | Init.SETXATTR_EXT), SMALL.max_request)
