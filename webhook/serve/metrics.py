"""The webhook's metrics, and the application that serves them; `metricsport` has the port.

prometheus_client is used here only, with a registry of our own. Thread safe, as its counters are.
Names, help and labels are `metrictable`'s.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
    make_asgi_app,
)

from webhook import __version__
from webhook.serve import metrictable
from webhook.serve.metrictable import BUCKETS, BUILD, PREFIX, REVIEW_SECONDS, MetricRow


class Metrics:
    """The webhook's counters and gauges."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info(PREFIX + BUILD.name, BUILD.help, registry=self.registry).info({"version": __version__})
        self._reviews = self._counter(metrictable.REVIEWS)
        # There from the beginning: the increase of a series begins with its second value.
        self._reviews.labels("error", "bug")
        self._seconds = Histogram(
            PREFIX + REVIEW_SECONDS.name,
            REVIEW_SECONDS.help,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._rejected = self._counter(metrictable.REJECTED)
        self._warnings = self._counter(metrictable.WARNINGS)
        self._refused = self._counter(metrictable.CERTIFICATE_REFUSED)
        self._expiry = self._gauge(metrictable.CERTIFICATE_EXPIRY)
        self._policy_valid = self._gauge(metrictable.POLICY_VALID)
        self._policy_reloads = self._counter(metrictable.POLICY_RELOADS)
        self._ready = self._gauge(metrictable.READY)

    def _counter(self, row: MetricRow) -> Counter:
        return Counter(PREFIX + row.name, row.help, row.labels, registry=self.registry)

    def _gauge(self, row: MetricRow) -> Gauge:
        return Gauge(PREFIX + row.name, row.help, registry=self.registry)

    def reviewed(self, decision: str, reason: str, seconds: float) -> None:
        """Count an answered review."""
        self._reviews.labels(decision, reason).inc()
        self._seconds.observe(seconds)

    def rejected(self, status: int) -> None:
        """Count a request that is no valid review."""
        self._rejected.labels(str(status)).inc()

    def warned(self, reason: str) -> None:
        """Count a warning in an answer."""
        self._warnings.labels(reason).inc()

    def certificate_loaded(self, not_after: float) -> None:
        """Note the expiry (Unix time) of the certificate in use; infinity if unknown."""
        self._expiry.set(0 if math.isinf(not_after) else not_after)

    def certificate_refused(self) -> None:
        """Count a new certificate that was refused; the old one stays."""
        self._refused.inc()

    def policy_loaded(self, *, valid: bool) -> None:
        """Count a reload of the policy file."""
        self._policy_valid.set(int(valid))
        self._policy_reloads.labels("loaded" if valid else "refused").inc()

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Have readiness evaluated when the metrics are read."""
        self._ready.set_function(ready)

    def application(self) -> Callable[[Any, Any, Any], Awaitable[None]]:
        """Return an ASGI application that serves the metrics; it closes each connection."""
        served = make_asgi_app(self.registry)

        async def application(scope: Any, _receive: Any, send: Any) -> None:
            # The library's decodes all headers as UTF-8.
            headers = [(name, value) for name, value in scope["headers"] if value.isascii()]
            await served(scope | {"headers": headers}, _no_body, _closing(send))

        return application

    def rendered(self) -> str:
        """Return all metrics in the text format, for tests and debugging."""
        return generate_latest(self.registry).decode()


async def _no_body() -> dict[str, Any]:
    """Stand for the request's body, which nobody waits for."""
    return {"type": "http.request"}


def _closing(send: Any) -> Any:
    async def send_closing(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"connection", b"close"))
        await send(message)

    return send_closing
