"""A transport that sends what is written together at once: at `flush`, or at the turn's end.

uvicorn writes the head and the body of a response separately: two TLS records, two system calls,
and a client that wakes up twice. Everything but `write`, `close` and `abort` is the inner
transport's. Event loop's thread only.
"""

import asyncio
from typing import Any


class OneWrite:
    """Wraps a transport of asyncio."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        self._pending: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn, with what else is written until then."""
        if not data:
            return
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(data)

    def close(self) -> None:
        """Send what was written, and close."""
        self.flush()
        self._inner.close()

    def abort(self) -> None:
        """Close without sending."""
        self._pending.clear()
        self._inner.abort()

    def flush(self) -> None:
        """Send what was written so far."""
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._inner.write(data)
