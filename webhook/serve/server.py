"""The running server: waits for its certificate, serves, drains, ends.

uvicorn is used here only. One event loop on the main thread; the metrics have a thread of their
own. On SIGTERM readiness goes first and reviews are answered until the drain time is over, so that
no API server finds a closed door; a second signal ends the wait.
"""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from webhook.errors import CertificateError
from webhook.serve.door import Door
from webhook.serve.health import Health
from webhook.serve.log import Logger
from webhook.serve.settings import Serving
from webhook.serve.tls import LiveCertificate

# How often files that may change are looked at, in seconds.
POLL = 1.0
# Above what load balancers and API servers keep a connection idle (90 s in Go): they close first.
_KEEP_ALIVE = 120
# How long a request's head may take; an API server sends it in one packet.
HEAD_SECONDS = 5.0
# uvicorn refuses requests at so many times the connections that we keep: those we close go a little
# later than others come.
_HEADROOM = 2
# Between two looks at what those that were let in are doing.
_BURST = 16
_HOW_TO = "see that the certificate agent runs, or give a directory made by `certs issue`"


class Server(uvicorn.Server):
    """uvicorn, with a drain between the signal and the end."""

    def __init__(self, config: uvicorn.Config, health: Health, log: Logger, drain: float) -> None:
        super().__init__(config)
        self._health = health
        self._log = log
        self._drain = drain
        self._ends_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; the second time end at once."""
        if self._health.draining:
            self.should_exit = True
            return
        self._health.drain()
        self._log.info("draining", signal=signal.Signals(sig).name, seconds=self._drain)
        self._ends_at = time.monotonic() + self._drain

    async def on_tick(self, counter: int) -> bool:
        """uvicorn asks ten times a second whether it is time to end."""
        if time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)


class ImpatientProtocol(H11Protocol):
    """Keeps connections from being held for nothing, by whoever can reach the port.

    A connection whose next request's head doesn't come to an end is closed: uvicorn would wait for
    ever. While there are too many one has to go, since uvicorn would refuse everybody: of whoever
    has the most, the one that has been idle longest, or else that has been at its request longest.
    Handshakes (`door`) and bodies (`app`) have limits of their own.
    """

    door: Door | None = None
    peer = ""
    _timer: asyncio.TimerHandle | None = None
    idle_since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        self.peer = address[0] if address else ""
        if self.door is not None:
            self.door.passed(address)
        self.idle_since = self.loop.time()
        self._expect_head()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.idle:
            self._expect_head()
        else:
            self._stop_expecting()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        if len(self.connections) * _HEADROOM <= (self.limit_concurrency or 0):
            return
        others = [each for each in self.connections if isinstance(each, ImpatientProtocol)]
        crowds = Counter(each.peer for each in others)
        largest = max(crowds.values())
        crowd = [each for each in others if crowds[each.peer] == largest]
        min(crowd, key=lambda each: each.worth).end()

    @property
    def worth(self) -> tuple[int, float]:
        """What is lost with this connection: the least first."""
        order = 0 if self.transport.is_closing() else 1 if self.idle else 2
        return order, self.idle_since

    def end(self) -> None:
        """Close at once: close() would wait half a minute for the other side's good-bye."""
        self.connections.discard(self)
        self.transport.abort()

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_expecting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self.end()


def make_server(
    app: Any, serving: Serving, health: Health, log: Logger, tls: LiveCertificate | None, door: Door
) -> Server:
    """The server for an ASGI application; without a certificate over plain HTTP."""
    config = uvicorn.Config(
        app,
        http=type("DoorProtocol", (ImpatientProtocol,), {"door": door}),
        # So many are let in at a time; how many may queue up is the door's business.
        backlog=_BURST,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=serving.maximum_connections * _HEADROOM,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=serving.request_deadline + 1,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
    )
    return Server(config, health, log, serving.drain_seconds)


def wait_for_certificate(certificate: LiveCertificate, seconds: float) -> None:
    """Until the first certificate is there; CertificateError when it doesn't come in time."""
    until = time.monotonic() + seconds
    certificate.refresh()
    while not certificate.loaded:
        if time.monotonic() >= until:
            raise CertificateError(
                f"no certificate after {seconds} s: {certificate.reason}; {_HOW_TO}"
            )
        time.sleep(POLL)
        certificate.refresh()


def watching(
    refresh: list[Callable[[], None]],
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """An application lifespan during which the given functions are called every second."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(POLL)
            for look in refresh:
                look()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()

    return lifespan
