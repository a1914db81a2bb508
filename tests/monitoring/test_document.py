"""docs/metrics.md and the tables it is made of."""

import re

import pytest

from fusefs.mount import metrictable as mounts
from fusefs.mount.metrics import Metrics as MountMetrics
from tests.monitoring import document
from webhook.serve import metrictable as webhook
from webhook.serve.metrics import Metrics as WebhookMetrics

ALL = [*mounts.ROWS, *mounts.PROCESS_ROWS, *webhook.ROWS]


def test_the_document_is_made_of_the_tables() -> None:
    """`python -m tests.monitoring.document` writes it anew."""
    assert document.PAGE.read_text() == document.page()


def test_what_is_served_is_in_the_document() -> None:
    """Every family with our prefix, of both; and no name twice."""
    served = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in (
            *MountMetrics(dict).collect(),
            *WebhookMetrics().registry.collect(),
        )
        if metric.name.startswith("s3mount_")
    }
    told = re.findall(r"^\| `(s3mount_\w+)`", document.page(), re.MULTILINE)
    assert {name.removesuffix("_info") for name in told} == {
        name.removesuffix("_info") for name in served
    }
    assert len(told) == len(set(told))


@pytest.mark.parametrize("row", ALL, ids=[row.exposed for row in ALL])
def test_names_are_as_prometheus_asks(row: mounts.MetricRow) -> None:
    """Lower case, base units, `_total` for counters only, a sentence of help."""
    assert re.fullmatch(r"s3mount_[a-z_]+[a-z]", row.exposed)
    assert not re.search(r"(_ms|_mb|_kb|_count|_total_total|_milliseconds)$", row.exposed)
    assert row.help.endswith((".", "86400."))
