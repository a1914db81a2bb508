"""The running server: it waits for its certificate, serves, drains, ends.

uvicorn is used here only, for the metrics, too (`metricsport`). One event loop on the main thread;
the metrics' server has another on a thread of its own. On SIGTERM the replica becomes unready and
answers reviews until the drain time is over, so that no API server finds the port closed; a second
signal ends the drain.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from webhook.errors import CertificateError
from webhook.serve.health import Health
from webhook.serve.listener import Door
from webhook.serve.log import Logger
from webhook.serve.settings import Serving
from webhook.serve.tls import LiveCertificate
from webhook.serve.transport import OneWrite

# Seconds between two checks of files that may change.
POLL = 1.0
# Above what load balancers and API servers keep a connection idle (90 s in Go): they close first.
_KEEP_ALIVE = 120
# Seconds for the head of a request; an API server sends it in one packet.
HEAD_SECONDS = 5.0
# uvicorn refuses requests above this many times our limit of connections: closing one takes a
# moment, in which others are accepted.
_HEADROOM = 2
# Accepts in one turn of the event loop.
_BURST = 16
# Clients of the metrics: a few scrapers.
_SCRAPES = 16
# Our errors only: a client that sends no HTTP is worth no line.
_scrape_log = logging.getLogger("uvicorn.metrics")
_scrape_log.setLevel(logging.ERROR)
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
        """Begin to drain; at the second signal end at once."""
        if self._health.draining:
            self.should_exit = True
            return
        self._health.drain()
        self._log.info("draining", signal=signal.Signals(sig).name, seconds=self._drain)
        self._ends_at = time.monotonic() + self._drain

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; uvicorn calls this ten times a second."""
        if time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)


class ImpatientProtocol(H11Protocol):
    """HTTP with limits on idle and slow connections.

    A connection whose next request's head isn't complete in time is closed: uvicorn would wait for
    ever. Above the limit of connections one is closed, since uvicorn would refuse every client: of
    the client with the most, the one that is idle longest, else the one with the oldest request.
    Handshakes (`listener`) and bodies (`bodies`) have limits of their own.
    """

    door: Door | None = None
    head_seconds = HEAD_SECONDS
    peer = ""
    _timer: asyncio.TimerHandle | None = None
    idle_since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, OneWrite(transport, self.loop)))
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
            self._got_head()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        # Not at the end of the turn: a client would wait for the reviews that arrived with its own.
        cast(OneWrite, self.transport).flush()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request is in progress."""
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
        """Sort key of the connections to close: the least valuable first."""
        order = 0 if self.transport.is_closing() else 1 if self.idle else 2
        return order, self.idle_since

    def end(self) -> None:
        """Close at once: close() would wait half a minute for the TLS closure of the peer."""
        self.connections.discard(self)
        self.transport.abort()

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _got_head(self) -> None:
        self._stop_expecting()

    def _stop_expecting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self.end()


class ScrapeProtocol(ImpatientProtocol):
    """HTTP for scrapers: a connection ends after seconds, whatever the client does."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.logger = _scrape_log

    def _got_head(self) -> None:
        """Let the time run on: it is the response's, too."""


def make_server(
    app: Any, serving: Serving, health: Health, log: Logger, tls: LiveCertificate | None, door: Door
) -> Server:
    """Return the server for an ASGI application; without a certificate over plain HTTP."""
    config = _config(
        app,
        ImpatientProtocol,
        door,
        serving.maximum_connections,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=serving.request_deadline + 1,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
    )
    return Server(config, health, log, serving.drain_seconds)


class ScrapeServer(uvicorn.Server):
    """Serves an ASGI application over plain HTTP to few clients, without signals and a drain."""

    def __init__(self, app: Any, door: Door, seconds: float = HEAD_SECONDS) -> None:
        """Serve `app` at `door`; a connection has `seconds`."""
        protocol = type("TimedProtocol", (ScrapeProtocol,), {"head_seconds": seconds})
        super().__init__(_config(app, protocol, door, _SCRAPES, lifespan="off"))

    @property
    def clients(self) -> int:
        """Number of open connections."""
        return len(self.server_state.connections)

    def stop(self) -> None:
        """End soon, without waiting for clients; from any thread."""
        self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in list(self.server_state.connections):
            cast(ScrapeProtocol, each).end()
        await super().shutdown(sockets)


def _config(
    app: Any, protocol: type[ImpatientProtocol], door: Door, connections: int, **options: Any
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=type("DoorProtocol", (protocol,), {"door": door}),
        # The number of accepts at a time; the listen backlog is the door's.
        backlog=_BURST,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections * _HEADROOM,
        **options,
    )


def wait_for_certificate(certificate: LiveCertificate, seconds: float) -> None:
    """Wait for the first certificate; CertificateError if there is none in time."""
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
    """Return an application lifespan that calls the given functions every second."""

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
