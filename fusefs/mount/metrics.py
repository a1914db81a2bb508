"""The metrics of a process's mounts in the text format of Prometheus.

prometheus_client is used here only, and this is imported when somebody reads them only
(`metricsport`). Not here: which metrics there are (`metrictable`), and counting (`counters`,
`timings`).

Threading: each reader of the metrics has a thread of its own; nothing is kept here.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from fusefs import __version__
from fusefs.mount.metrictable import PREFIX, PROCESS_ROWS, ROWS, Kind, MetricRow, Value
from fusefs.mount.mount import Mounted
from fusefs.mount.scrapes import Application
from fusefs.timings import BOUNDS, Durations

_EDGES = [*(str(bound) for bound in BOUNDS), "+Inf"]
_FAMILIES: dict[Kind, type[CounterMetricFamily] | type[GaugeMetricFamily]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
}


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
        build = GaugeMetricFamily(PREFIX + "build_info", "The version.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build
        for row in ROWS:
            yield _family(row, mounts)
        for process in PROCESS_ROWS:
            value = process.read()
            family = GaugeMetricFamily(process.exposed, process.help)
            if value is not None:
                family.add_metric((), value)
            yield family

    def rendered(self) -> str:
        """Return all of it in the text format."""
        return generate_latest(self.registry).decode()

    def application(self) -> Application:
        """Return what serves them over HTTP."""
        return make_wsgi_app(self.registry)


def _family(row: MetricRow, mounts: Mapping[str, Mounted]) -> Metric:
    values = [
        ((name, *labels), value)
        for name, mounted in mounts.items()
        for labels, value in row.read(mounted).items()
    ]
    if row.kind is Kind.HISTOGRAM:
        return _histogram(row, values)
    family = _FAMILIES[row.kind](PREFIX + row.name, row.help, labels=("mount", *row.labels))
    for labels, value in values:
        assert not isinstance(value, Durations)  # noqa: S101 - only histograms have them
        family.add_metric(labels, value)
    return family


def _histogram(row: MetricRow, values: Iterable[tuple[tuple[str, ...], Value]]) -> Metric:
    family = HistogramMetricFamily(PREFIX + row.name, row.help, labels=("mount", *row.labels))
    for labels, value in values:
        assert isinstance(value, Durations)  # noqa: S101 - the table says so
        up_to = accumulate(value.counts)
        buckets = [(edge, float(count)) for edge, count in zip(_EDGES, up_to, strict=True)]
        family.add_metric(labels, buckets, value.total)
    return family
