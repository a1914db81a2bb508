"""The metrics of a process's mounts.

prometheus_client is used here only, and this is imported when somebody reads them only
(`metricsport`). What only grows is counted by `counters` while it happens, all else is asked of the
mounts when somebody reads the metrics. No label comes from a key or a name of a file: `mount` is
the mount's own, operations and outcomes are short closed lists.

Threading: each reader of the metrics has a thread of its own; nothing is kept here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from fusefs.counters import Count
from fusefs.mount.mount import Mounted
from fusefs.mount.scrapes import Application
from fusefs.session.startmode import StartMode

_P = "s3mount_"

_COUNTS = (
    ("store_received_bytes", Count.RECEIVED, "Bytes of object content received from the store."),
    ("store_sent_bytes", Count.SENT, "Bytes of object content sent to the store."),
    ("store_retries", Count.RETRIED, "Requests that were sent again."),
    ("cache_hit_bytes", Count.HIT, "Bytes that reads took from the cache disk."),
    ("cache_miss_bytes", Count.MISSED, "Bytes that reads took from the store, ahead or not."),
    ("upload_failures", Count.UPLOAD_FAILED, "Uploads that failed; each is tried again."),
    ("conflicts", Count.CONFLICT, "Files kept in conflicts/ because another writer was first."),
)

_GAUGES: tuple[tuple[str, Callable[[Mounted], float], str], ...] = (
    ("well", lambda m: float(not m.trouble()), "1 while the mount is well, as its probe says."),
    (
        "resumed",
        lambda m: float(m.mode is StartMode.RESUMED),
        "1 if the worker went on with the mount of one that died.",
    ),
    (
        "remounted",
        lambda m: float(m.mode is StartMode.RENEWED),
        "1 if the worker mounted anew after one that died: what was open failed.",
    ),
    ("dirty_files", lambda m: len(m.staging.dirty.all()), "Files with changes not in the store."),
    (
        "dirty_bytes",
        lambda m: sum(body.unsent for body in m.staging.dirty.all()),
        "Bytes changed and not in the store.",
    ),
    (
        "cache_removed",
        lambda m: float(m.cache_removed),
        "1 if the cache directory was removed under the mount; restart it.",
    ),
    ("open_handles", lambda m: len(m.open_handles()), "Open files."),
    ("cache_bytes", lambda m: m.cache.held, "Bytes of cached content on disk."),
    ("cache_limit_bytes", lambda m: m.settings.cache_size, "What --cache-size allows."),
    (
        "store_silent_seconds",
        lambda m: m.store.silent_for(),
        "Seconds since the store last answered; grows while nothing is asked of it.",
    ),
    (
        "store_unreachable_seconds",
        lambda m: m.store.unreachable_for(),
        "Seconds since the store began to leave requests unanswered; 0 while it answers.",
    ),
)


class Metrics(Collector):
    """The metrics of all mounts that there are when they are read, by their names."""

    def __init__(self, mounts: Callable[[], Mapping[str, Mounted]]) -> None:
        self.registry = CollectorRegistry()
        self._mounts = mounts
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of all mounts, as they are now."""
        mounts = dict(self._mounts())
        yield self._requests(mounts)
        yield from self._counts(mounts)
        yield from self._gauges(mounts)

    @staticmethod
    def _requests(mounts: dict[str, Mounted]) -> Metric:
        family = CounterMetricFamily(
            _P + "store_requests",
            "Requests by S3 operation and outcome: ok, or the error they ended with.",
            labels=("mount", "operation", "outcome"),
        )
        for name, mounted in mounts.items():
            for (operation, outcome), total in sorted(mounted.store.counters.requests().items()):
                family.add_metric((name, operation, outcome), total)
        return family

    @staticmethod
    def _counts(mounts: dict[str, Mounted]) -> Iterator[Metric]:
        for metric, count, text in _COUNTS:
            family = CounterMetricFamily(_P + metric, text, labels=("mount",))
            for name, mounted in mounts.items():
                family.add_metric((name,), mounted.store.counters.get(count))
            yield family

    @staticmethod
    def _gauges(mounts: dict[str, Mounted]) -> Iterator[Metric]:
        for metric, value, text in _GAUGES:
            family = GaugeMetricFamily(_P + metric, text, labels=("mount",))
            for name, mounted in mounts.items():
                family.add_metric((name,), value(mounted))
            yield family

    def rendered(self) -> str:
        """Return all of it in the text format."""
        return generate_latest(self.registry).decode()

    def application(self) -> Application:
        """Return what serves them over HTTP."""
        return make_wsgi_app(self.registry)
