"""As much HTTP/1.1 as a proxy needs that must not change a signed byte.

Heads are kept as they came; bodies are relayed by Content-Length, in chunks, or to the end of the
connection. One instance belongs to one thread.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep

_BLOCK = 256 * 1024


class DisconnectError(ConnectionError):
    """The other side closed where more had to come."""


@dataclass(frozen=True)
class Head:
    """Start line and headers; `raw` is what came, blank line included."""

    raw: bytes
    start: str
    headers: dict[str, str]  # lower-case names; the last of equal names counts

    def without(self, *names: str) -> bytes:
        """Return the raw head without these (lower-case) headers."""
        lines = self.raw.split(b"\r\n")
        kept = [
            line
            for line in lines
            if line.split(b":", 1)[0].strip().lower().decode("latin-1") not in names
        ]
        return b"\r\n".join(kept)

    def replacing(self, name: str, value: str) -> bytes:
        """Return the raw head with one (lower-case) header set to another value."""
        line = f"\r\n{name}: {value}\r\n\r\n".encode("latin-1")
        return self.without(name).removesuffix(b"\r\n\r\n") + line


class Connection:
    """A socket that is read by heads and bodies."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def head(self) -> Head | None:
        """Read a head; None if the other side closed before it began one."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                if self._buffer:
                    raise DisconnectError("in the middle of a head")
                return None
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        start, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Head(raw + b"\r\n\r\n", start, headers)

    def body(self, head: Head, to_the_end: bool = False) -> Iterator[bytes]:
        """Yield the body's bytes as they are on the wire, chunk framing included."""
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in head.headers:
            yield from self._exactly(int(head.headers["content-length"]))
        elif to_the_end:
            while self._buffer or self._fill():
                yield self._take(_BLOCK)

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            yield line
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            yield from self._exactly(size + 2)
        while True:  # trailers, up to the blank line
            line = self._line()
            yield line
            if line == b"\r\n":
                return

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._buffer and not self._fill():
                raise DisconnectError(f"{count} bytes before the end of a body")
            block = self._take(count)
            count -= len(block)
            yield block

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if not self._fill():
                raise DisconnectError("in the middle of a chunked body")
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line + b"\r\n"

    def _take(self, limit: int) -> bytes:
        block, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return block

    def _fill(self) -> bool:
        received = self.socket.recv(_BLOCK)
        self._buffer += received
        return bool(received)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def idle(self) -> bool:
        """Say whether it can carry another request: open, and nothing unread in it."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._buffer
        except OSError:
            return False
        else:  # either the other side has closed or it sent what nobody asked for
            return False
        finally:
            self.socket.setblocking(True)

    def close(self) -> None:
        """Close in the ordinary way."""
        self.socket.close()

    def reset(self) -> None:
        """Close so that the other side sees a reset, after what was sent before has arrived."""
        deadline = monotonic() + 1.0
        while self._unacknowledged() and monotonic() < deadline:
            sleep(0.001)
        off = struct.pack("ii", 1, 0)  # linger for no time
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, off)
        self.socket.close()

    def _unacknowledged(self) -> int:
        """Return the bytes in the send queue (SIOCOUTQ, which Linux numbers as TIOCOUTQ)."""
        count = fcntl.ioctl(self.socket, termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", count)[0])
