"""The bodies of requests being received, and a limit for all of them together.

Each has a limit and a deadline, which doesn't bound a hundred of them at once. Above a limit for
all together the oldest one is given up: an API server sends a review at once. Everything runs on
the event loop's thread.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from webhook.errors import EnvelopeError
from webhook.serve.settings import Limits

# ASGI's channel of a request's messages.
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Bodies:
    """All bodies that are being received, oldest first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._coming: dict[asyncio.Timeout, int] = {}

    @property
    def held(self) -> int:
        """Bytes received so far, of all bodies."""
        return sum(self._coming.values())

    async def receive(self, receive: Receive) -> bytes:
        """Return one body; EnvelopeError if it is too long, slow, cut, or given up for others."""
        deadline = self._limits.deadline
        timeout = asyncio.timeout(deadline)
        try:
            async with timeout:
                self._coming[timeout] = 0
                return await self._collect(receive, timeout)
        except TimeoutError as error:
            raise EnvelopeError(f"the body took longer than {deadline} s", 408) from error
        finally:
            self._coming.pop(timeout, None)

    async def _collect(self, receive: Receive, timeout: asyncio.Timeout) -> bytes:
        body = bytearray()
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise EnvelopeError("the client closed the connection within the body")
                more = message.get("more_body", False)
                body += message.get("body", b"")
                if len(body) > self._limits.body:
                    raise EnvelopeError(f"the body is longer than {self._limits.body} bytes", 413)
                if timeout in self._coming:
                    self._coming[timeout] = len(body)
                    self._make_room()
            return bytes(body)
        finally:
            # A failure's traceback keeps this frame until the next collection of garbage.
            body.clear()

    def _make_room(self) -> None:
        while self.held > self._limits.bodies and len(self._coming) > 1:
            oldest = next(iter(self._coming))
            del self._coming[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
