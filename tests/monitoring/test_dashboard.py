"""The dashboard asks for what is served, and a real Prometheus answers it."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.interface import ROOT, Caller
from fusefs.mount.metricsport import MetricsPort
from fusefs.mount.mount import Mounted, open_mount
from fusefs.mount.settings import MountSettings
from fusefs.s3.settings import StoreSettings
from tests.monitoring import dashboard, exposed
from tests.monitoring.prometheus import Prometheus
from tests.servers.s3 import REGION, Bucket
from webhook.serve.metrics import Metrics as WebhookMetrics
from webhook.serve.metricsport import MetricsPort as WebhookPort

# Absent where the memory of this process has no limit.
MAYBE = "s3mount_container_memory_limit_bytes"


def filled(query: str) -> str:
    """Choose everything, as Grafana does."""
    for name in ("namespace", "pod", "mount"):
        query = query.replace(f"${name}", ".*")
    return query.replace("$__rate_interval", "5s")


@pytest.fixture
def mounted(bucket: Bucket, tmp_path: Path) -> Iterator[Mounted]:
    """A mount that something was written to."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, value in bucket.endpoint.credentials.environment().items():
        (keys / name).write_text(value)
    store = StoreSettings(bucket.name, bucket.endpoint.url, REGION, credentials_dir=keys)
    opened = open_mount(MountSettings(store, tmp_path, cache_dir=tmp_path / "cache"))
    _, file = opened.calls.create(ROOT, "file", 0o644, os.O_WRONLY | os.O_CREAT, Caller(0, 0))
    opened.calls.write(file.handle, 0, b"x" * 1000)
    opened.calls.flush(file.handle)
    opened.calls.release(file.handle)
    opened.calls.lookup(ROOT, "file")
    opened.times.note(("read", 0), 0.01)
    opened.times.note(("read", errno.EIO), 0.01)
    yield opened
    opened.close()


def webhook_metrics() -> WebhookMetrics:
    """Return those of a replica that has done a little of everything."""
    metrics = WebhookMetrics()
    metrics.watch_ready(lambda: True)
    metrics.reviewed("injected", "", 0.001)
    metrics.certificate_loaded(time.time() + 86400)
    metrics.policy_loaded(valid=True)
    return metrics


def test_the_file_is_made_of_the_table() -> None:
    """`python -m tests.monitoring.dashboard` writes it anew; Grafana tells panels apart by id."""
    assert dashboard.FILE.read_text() == dashboard.written()
    numbers = [panel["id"] for panel in json.loads(dashboard.FILE.read_text())["panels"]]
    assert len(numbers) == len(set(numbers)) > 20


def test_every_query_asks_for_served_metrics() -> None:
    """And every metric of ours but a few is seen on the dashboard."""
    assert [query for query in dashboard.queries() if exposed.unknown(query)] == []
    assert [query for query in dashboard.queries() if not exposed.used(query)] == []


def test_prometheus_answers_every_query(mounted: Mounted, tmp_path: Path) -> None:
    """From what a mount and the webhook really serve."""
    with (
        MetricsPort(lambda: {"m": mounted}, 0, "127.0.0.1") as mounts,
        WebhookPort(webhook_metrics(), "127.0.0.1", 0) as webhook,
        Prometheus(
            tmp_path / "prometheus",
            [
                (mounts.port, {"namespace": "n", "pod": "p"}),
                (webhook.port, {"namespace": "s3mount-system", "pod": "w"}),
            ],
        ) as prometheus,
    ):
        assert prometheus.wait_for("rate(s3mount_store_requests_total[5s])") != []
        silent = [
            query
            for query in dashboard.queries()
            if MAYBE not in query and not prometheus.wait_for(filled(query), 3)
        ]
    assert silent == []
