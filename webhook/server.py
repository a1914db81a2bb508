"""The running server: waits for its certificate, serves, drains, ends.

uvicorn is used here only. One event loop on the main thread; the metrics have a thread of their
own. On SIGTERM readiness goes first and reviews are answered until the drain time is over, so that
no API server finds a closed door; a second signal ends the wait.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any

import uvicorn

from webhook.errors import CertificateError
from webhook.health import Health
from webhook.log import Logger
from webhook.serving import Serving
from webhook.tls import LiveCertificate

# How often files that may change are looked at, in seconds.
POLL = 1.0
# Above what load balancers and API servers keep a connection idle (90 s in Go): they close first.
_KEEP_ALIVE = 120
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


def make_server(
    app: Any, serving: Serving, health: Health, log: Logger, tls: LiveCertificate | None
) -> Server:
    """The server for an ASGI application; without a certificate over plain HTTP."""
    config = uvicorn.Config(
        app,
        host=serving.host,
        port=serving.port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=serving.connections,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=serving.limits.deadline + 1,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
    )
    return Server(config, health, log, serving.drain)


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
