"""Writes deploy/monitoring/dashboard.json from a table: `python -m tests.monitoring.dashboard`.

A panel is a line here and forty in Grafana's JSON. Not here: asking Prometheus the queries, which
`test_dashboard` does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.monitoring.rules import MONITORING

FILE = MONITORING / "dashboard.json"
# What the variables at the top choose; `.*` for all of them.
CHOSEN = 'namespace=~"$namespace",pod=~"$pod",mount=~"$mount"'
PODS = 'namespace=~"$namespace",pod=~"$pod"'
RATE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One graph; `queries` are pairs of an expression and a legend."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str = ""
    stat: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...] = field(default=())


def _by(labels: str, inner: str) -> str:
    return f"sum by ({labels}) ({inner})"


def _rate(metric: str, chosen: str = CHOSEN, more: str = "") -> str:
    return f"rate({metric}{{{chosen}{more}}}[{RATE}])"


def _quantile(part: float, metric: str, by: str) -> str:
    return f"histogram_quantile({part}, {_by(f'le, {by}', _rate(f'{metric}_bucket'))})"


_WEBHOOK_SECONDS = f"rate(s3mount_webhook_review_seconds_bucket[{RATE}])"

ROWS = (
    Row(
        "Overview",
        (
            Panel("Mounts", "short", ((f"count(s3mount_well{{{CHOSEN}}})", ""),), stat=True),
            Panel(
                "Not well",
                "short",
                ((f"count(s3mount_well{{{CHOSEN}}} == 0) or vector(0)", ""),),
                stat=True,
            ),
            Panel(
                "Not in the store yet",
                "bytes",
                ((f"sum(s3mount_dirty_bytes{{{CHOSEN}}})", ""),),
                stat=True,
            ),
            Panel(
                "Conflicts in a day",
                "short",
                ((f"sum(increase(s3mount_conflicts_total{{{CHOSEN}}}[1d]))", ""),),
                stat=True,
            ),
            Panel(
                "Ready replicas of the webhook",
                "short",
                (("sum(s3mount_webhook_ready)", ""),),
                stat=True,
            ),
            Panel(
                "Certificate is good for",
                "s",
                (("min(s3mount_webhook_certificate_expiry_timestamp_seconds > 0) - time()", ""),),
                stat=True,
            ),
        ),
    ),
    Row(
        "What programs see",
        (
            Panel(
                "File operations",
                "ops",
                ((_by("operation", _rate("s3mount_operation_seconds_count")), "{{operation}}"),),
            ),
            Panel(
                "Latency of file operations, 99 %",
                "s",
                ((_quantile(0.99, "s3mount_operation_seconds", "operation"), "{{operation}}"),),
            ),
            Panel(
                "Errors",
                "ops",
                (
                    (
                        _by(
                            "operation, errno",
                            _rate("s3mount_operation_seconds_count", more=',errno!="ok"'),
                        ),
                        "{{operation}} {{errno}}",
                    ),
                ),
                "ENOENT and ENODATA are everyday answers; EIO is not.",
            ),
            Panel(
                "Bytes read, by where they came from",
                "Bps",
                (
                    (f"sum({_rate('s3mount_cache_hit_bytes_total')})", "cache"),
                    (f"sum({_rate('s3mount_cache_miss_bytes_total')})", "store"),
                ),
            ),
        ),
    ),
    Row(
        "The store",
        (
            Panel(
                "Requests",
                "reqps",
                ((_by("operation", _rate("s3mount_store_requests_total")), "{{operation}}"),),
            ),
            Panel(
                "Answers that are no success",
                "reqps",
                (
                    (
                        _by(
                            "outcome", _rate("s3mount_store_requests_total", more=',outcome!="ok"')
                        ),
                        "{{outcome}}",
                    ),
                    (f"sum({_rate('s3mount_store_retries_total')})", "sent again"),
                ),
            ),
            Panel(
                "First byte, median and 99 %",
                "s",
                (
                    (
                        _quantile(0.5, "s3mount_store_first_byte_seconds", "operation"),
                        "{{operation}} 50 %",
                    ),
                    (
                        _quantile(0.99, "s3mount_store_first_byte_seconds", "operation"),
                        "{{operation}} 99 %",
                    ),
                ),
            ),
            Panel(
                "Whole requests, 99 %",
                "s",
                ((_quantile(0.99, "s3mount_store_request_seconds", "operation"), "{{operation}}"),),
            ),
            Panel(
                "Content",
                "Bps",
                (
                    (f"sum({_rate('s3mount_store_received_bytes_total')})", "received"),
                    (f"sum({_rate('s3mount_store_sent_bytes_total')})", "sent"),
                ),
            ),
            Panel(
                "Unreachable for",
                "s",
                ((f"max by (pod) (s3mount_store_unreachable_seconds{{{CHOSEN}}})", "{{pod}}"),),
            ),
        ),
    ),
    Row(
        "Data at risk",
        (
            Panel(
                "Not in the store yet",
                "bytes",
                ((_by("pod", f"s3mount_dirty_bytes{{{CHOSEN}}}"), "{{pod}}"),),
            ),
            Panel(
                "Age of the oldest change",
                "s",
                ((f"max by (pod) (s3mount_dirty_oldest_seconds{{{CHOSEN}}})", "{{pod}}"),),
            ),
            Panel(
                "Failed uploads and conflicts",
                "short",
                (
                    (
                        _by("pod", f"increase(s3mount_upload_failures_total{{{CHOSEN}}}[{RATE}])"),
                        "{{pod}} uploads",
                    ),
                    (
                        _by("pod", f"increase(s3mount_conflicts_total{{{CHOSEN}}}[{RATE}])"),
                        "{{pod}} conflicts",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Resources",
        (
            Panel(
                "Cache",
                "percentunit",
                (
                    (
                        f"s3mount_cache_bytes{{{CHOSEN}}} / s3mount_cache_limit_bytes{{{CHOSEN}}}",
                        "{{pod}} {{mount}}",
                    ),
                ),
            ),
            Panel(
                "Memory of workers",
                "bytes",
                (
                    (f"process_resident_memory_bytes{{{PODS}}}", "{{pod}}"),
                    (f"s3mount_container_memory_limit_bytes{{{PODS}}}", "{{pod}} limit"),
                ),
            ),
            Panel(
                "CPU of workers",
                "short",
                ((_by("pod", _rate("process_cpu_seconds_total", PODS)), "{{pod}}"),),
                "Cores.",
            ),
            Panel(
                "Open files and refreshed credentials",
                "short",
                (
                    (_by("pod", f"s3mount_open_handles{{{CHOSEN}}}"), "{{pod}} open"),
                    (
                        _by("pod", f"increase(s3mount_credential_refreshes_total{{{CHOSEN}}}[1h])"),
                        "{{pod}} refreshed in an hour",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "The webhook",
        (
            Panel(
                "Reviews",
                "reqps",
                (
                    (
                        f"sum by (decision) (rate(s3mount_webhook_reviews_total[{RATE}]))",
                        "{{decision}}",
                    ),
                ),
            ),
            Panel(
                "Latency, 99 %",
                "s",
                ((f"histogram_quantile(0.99, sum by (le) ({_WEBHOOK_SECONDS}))", ""),),
            ),
            Panel(
                "Policy",
                "short",
                (
                    ("min(s3mount_webhook_policy_valid)", "valid"),
                    ("sum by (result) (s3mount_webhook_policy_reloads_total)", "{{result}}"),
                ),
            ),
        ),
    ),
)


def queries() -> list[str]:
    """Return all queries."""
    return [query for row in ROWS for panel in row.panels for query, _ in panel.queries]


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "s3mount",
        "title": "s3mount",
        "tags": ["s3", "storage"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus"}
    return [source, *(_variable(name) for name in ("namespace", "pod", "mount"))]


def _variable(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": f"label_values(s3mount_well, {name})", "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _panels() -> list[dict[str, Any]]:
    numbers, top = count(1), 0
    panels: list[dict[str, Any]] = []
    for row in ROWS:
        panels.append(
            {
                "id": next(numbers),
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
                "panels": [],
            }
        )
        top += 1
        wide, high = (4, 4) if row.panels[0].stat else (8, 8)
        for at, panel in enumerate(row.panels):
            place = {
                "x": at * wide % 24,
                "y": top + at * wide // 24 * high,
                "w": wide,
                "h": high,
            }
            panels.append(_panel(next(numbers), panel, place))
        top += -(-len(row.panels) * wide // 24) * high
    return panels


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": source,
                "expr": query,
                "legendFormat": legend or "__auto",
            }
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }


def written() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written())
