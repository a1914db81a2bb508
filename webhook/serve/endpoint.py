"""The endpoint of reviews, `POST /mutate`, as a plain ASGI application.

Checks type, size and time of the body; `reviewer` makes the answer. No framework here: reviews are
all the traffic there is, and a framework's layers would cost a tenth of each. Runs on one event
loop.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from webhook.errors import EnvelopeError
from webhook.serve.bodies import Bodies, Receive
from webhook.serve.health import Health
from webhook.serve.metrics import Metrics
from webhook.serve.reviewer import Reviewer
from webhook.serve.settings import Limits

PATH = "/mutate"
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Endpoint:
    """Answers reviews; a body that is none gets an error, and its connection is closed."""

    def __init__(
        self, reviewer: Reviewer, health: Health, metrics: Metrics, limits: Limits
    ) -> None:
        self._reviewer = reviewer
        self._health = health
        self._metrics = metrics
        self._limits = limits
        self._bodies = Bodies(limits)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, whatever its method and path."""
        try:
            self._expect_fit(dict(scope["headers"]))
            answer = self._reviewer.review(await self._bodies.receive(receive))
        except EnvelopeError as error:
            self._metrics.rejected(error.status)
            text = json.dumps({"error": str(error)}).encode()
            await _respond(send, error.status, text, close=True)
        else:
            await _respond(send, 200, answer, close=self._health.draining)

    def _expect_fit(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise EnvelopeError if the headers announce a body that isn't read."""
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise EnvelopeError("the content type is not application/json", 415)
        declared = headers.get(b"content-length", b"")
        # Python refuses to parse integers of many digits.
        if declared.isdigit() and int(declared[:18]) > self._limits.body:
            raise EnvelopeError(f"the body is longer than {self._limits.body} bytes", 413)


async def _respond(send: Send, status: int, body: bytes, *, close: bool) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
