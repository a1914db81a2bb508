"""Writes docs/metrics.md from the tables of metrics: `python -m tests.monitoring.document`.

A test compares the file with what this returns. Not here: the tables, which are
`fusefs.mount.metrictable` and `webhook.serve.metrictable`.
"""

from pathlib import Path

from fusefs.mount import metrictable as mounts
from fusefs.mount.metrictable import MetricRow
from webhook.serve import metrictable as webhook

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/metrics.md"

HEAD = """# Metrics

Made of the tables in the code by `python -m tests.monitoring.document`; don't edit it here.
[`deploy/monitoring/`](monitoring.md) has a dashboard and alerts made of these. The text format of
Prometheus, plain HTTP, path `/metrics`. What `process_…` says of memory, CPU and descriptors is
Prometheus' own. A histogram has `_bucket`, `_sum` and `_count` of its name.

## Of the mounts

Served by the worker of each pod with a bucket on port 20303 (`S3MOUNT_WORKER_METRICS_PORT`,
declared as `s3mount-metrics`), and by `fusefs mount --metrics-port PORT`. Each has the label
`mount`: the mount's name in its pod, `default` where there is one. Counters begin at 0 with each
worker. With FUSE passthrough the kernel reads whole cached files by itself; those reads are in no
metric, as nothing that the kernel answers from its own caches is.

| metric | type | labels | meaning |
|---|---|---|---|
"""
PROCESS = """
And of the worker's process, without labels:

| metric | type | labels | meaning |
|---|---|---|---|
"""
WEBHOOK = """
## Of the webhook

Served by each replica on port 9090 (`S3MOUNT_METRICS_PORT`).

| metric | type | labels | meaning |
|---|---|---|---|
"""


def page() -> str:
    """Return the whole document."""
    parts = [
        HEAD,
        *(_line(row.exposed, row.kind.value, _labels(row), row.help) for row in mounts.ROWS),
        PROCESS,
        _line(f"{mounts.PREFIX}build_info", "gauge", "`version`", "The version; always 1."),
        *(_line(row.exposed, "gauge", "", row.help) for row in mounts.PROCESS_ROWS),
        WEBHOOK,
        *(_line(row.exposed, row.kind.value, _named(row.labels), row.help) for row in webhook.ROWS),
    ]
    return "".join(parts)


def _labels(row: MetricRow) -> str:
    return _named(("mount", *row.labels))


def _named(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def _line(name: str, kind: str, labels: str, text: str) -> str:
    return f"| `{name}` | {kind} | {labels} | {text} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
