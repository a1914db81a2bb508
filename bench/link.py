"""The network of a benchmark: a proxy in a process of its own, with latency and rate.

So neither the client nor a daemon shares an interpreter with it, and it counts what each asks.
"""

from __future__ import annotations

import multiprocessing
import signal
from contextlib import suppress
from multiprocessing.connection import Connection

from bench.relay import Relay
from tests.servers.s3 import Endpoint

LATENCY = 0.02  # seconds of a round trip
RATE = 90 * 10**6  # bytes per second of one connection, either way


def _serve(
    store: Endpoint, latency: float, rate: float | None, pipe: Connection, others: Connection
) -> None:
    # A terminal's signals end the run, which needs us until all is unmounted.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    others.close()  # else nothing would tell that they are gone
    relay = Relay(store, latency, rate)
    with suppress(EOFError):
        pipe.send(relay.endpoint)
        relay.serve(pipe)


class Link:
    """The way to a store; use as a context manager."""

    def __init__(
        self, store: Endpoint, latency: float = LATENCY, rate: float | None = RATE
    ) -> None:
        self.latency = latency
        self.rate = rate
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(
            target=_serve, args=(store, latency, rate, theirs, self._pipe), daemon=True
        )
        self._process.start()
        self.endpoint: Endpoint = self._pipe.recv()

    def counted(self) -> tuple[dict[str, int], int]:
        """Return the requests since the last call, by operation, and the bytes of all bodies."""
        self._pipe.send(True)
        found: tuple[dict[str, int], int] = self._pipe.recv()
        return found

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join(5)
        self._process.kill()
