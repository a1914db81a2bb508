"""The webhook's metrics, and the port they are served on.

prometheus_client is used here only, with a registry of our own. Thread safe, as its counters are.
Label values come from short closed lists, never from users.
"""

import math
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
    make_wsgi_app,
)

from webhook import __version__
from webhook.errors import SettingsError
from webhook.serve.scrapes import ScrapeServer

# The API server waits 5 s; a review takes about one millisecond.
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
_P = "s3mount_webhook_"


class Metrics:
    """The webhook's counters and gauges."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info(_P + "build", "Version of the webhook.", registry=self.registry).info(
            {"version": __version__}
        )
        self._reviews = self._counter(
            "reviews", "Reviews by decision: injected, unchanged, skipped, denied, error.",
            "decision", "reason",
        )  # fmt: skip
        self._seconds = Histogram(
            _P + "review_seconds",
            "Time from the body's last byte to the answer.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._rejected = self._counter(
            "rejected_requests", "HTTP requests that were no readable review.", "status"
        )
        self._warnings = self._counter("warnings", "Admission warnings given.", "reason")
        self._refused = self._counter(
            "certificate_refused", "New certificates refused because they were broken."
        )
        self._expiry = self._gauge(
            "certificate_expiry_timestamp_seconds", "When the certificate in use expires."
        )
        self._policy_valid = self._gauge(
            "policy_valid", "1 while the policy file in place is the policy in use."
        )
        self._policy_reloads = self._counter(
            "policy_reloads", "Policy reloads by result.", "result"
        )
        self._ready = self._gauge("ready", "1 while this replica answers /readyz with 200.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_P + name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(_P + name, text, registry=self.registry)

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

    def rendered(self) -> str:
        """Return all metrics in the text format, for tests and debugging."""
        return generate_latest(self.registry).decode()


class MetricsPort:
    """Serves the metrics over plain HTTP from a thread of its own, until closed."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        try:
            self._server = ScrapeServer(host, port, make_wsgi_app(metrics.registry))
        except (OSError, OverflowError) as error:
            raise SettingsError(f"can't serve metrics on {host} port {port}: {error}") from error
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
