"""When each alert fires, tried by promtool, and what it leads to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring import exposed, rules
from tests.monitoring.rules import REPOSITORY, promtool

TROUBLESHOOTING = (REPOSITORY / "docs/troubleshooting.md").read_text()
MOUNT = 'namespace="n",pod="p",mount="m"'
HOOK = 'namespace="s3mount-system",pod="h"'
# By alert: series that fire it and series that don't, in promtool's notation, a value a minute.
FIRES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "S3mountUnwell": (
        {f"s3mount_well{{{MOUNT}}}": "0x120"},
        {f"s3mount_well{{{MOUNT}}}": "0 0 0 1x117"},
    ),
    "S3mountUploadsFail": (
        {
            f"s3mount_upload_failures_total{{{MOUNT}}}": "0+1x120",
            f"s3mount_dirty_files{{{MOUNT}}}": "1x120",
        },
        {
            f"s3mount_upload_failures_total{{{MOUNT}}}": "0 3x119",
            f"s3mount_dirty_files{{{MOUNT}}}": "1x5 0x115",
        },
    ),
    "S3mountUnsentForLong": (
        {
            f"s3mount_dirty_oldest_seconds{{{MOUNT}}}": "0+60x120",
            f"s3mount_dirty_bytes{{{MOUNT}}}": "9x120",
        },
        {
            f"s3mount_dirty_oldest_seconds{{{MOUNT}}}": "0+30x120",
            f"s3mount_dirty_bytes{{{MOUNT}}}": "9x120",
        },
    ),
    "S3mountConflict": (
        {f"s3mount_conflicts_total{{{MOUNT}}}": "0x100 1x20"},
        {f"s3mount_conflicts_total{{{MOUNT}}}": "1x120"},
    ),
    "S3mountStoreUnreachable": (
        {f"s3mount_store_unreachable_seconds{{{MOUNT}}}": "0+60x120"},
        {f"s3mount_store_unreachable_seconds{{{MOUNT}}}": "0 30 0x118"},
    ),
    "S3mountAccessDenied": (
        {f's3mount_store_requests_total{{{MOUNT},outcome="AccessDenied"}}': "0+1x120"},
        {f's3mount_store_requests_total{{{MOUNT},outcome="ok"}}': "0+1x120"},
    ),
    "S3mountInputOutputErrors": (
        {f's3mount_operation_seconds_count{{{MOUNT},errno="EIO"}}': "0+1x120"},
        {f's3mount_operation_seconds_count{{{MOUNT},errno="ENOENT"}}': "0+1x120"},
    ),
    "S3mountRemounted": (
        {f"s3mount_remounted{{{MOUNT}}}": "1x120"},
        {f"s3mount_remounted{{{MOUNT}}}": "0x120"},
    ),
    "S3mountCacheRemoved": (
        {f"s3mount_cache_removed{{{MOUNT}}}": "1x120"},
        {f"s3mount_cache_removed{{{MOUNT}}}": "0x120"},
    ),
    "S3mountThrottled": (
        {
            f"s3mount_store_retries_total{{{MOUNT}}}": "0+20x120",
            f's3mount_store_requests_total{{{MOUNT},operation="get_object"}}': "0+60x120",
            f's3mount_store_requests_total{{{MOUNT},operation="put_object"}}': "0+60x120",
        },
        {
            f"s3mount_store_retries_total{{{MOUNT}}}": "0+1x120",
            f's3mount_store_requests_total{{{MOUNT},operation="get_object"}}': "0+60x120",
        },
    ),
    "S3mountMemoryNearLimit": (
        {
            'process_resident_memory_bytes{pod="p"}': "95x120",
            's3mount_container_memory_limit_bytes{pod="p"}': "100x120",
        },
        {
            'process_resident_memory_bytes{pod="p"}': "80x120",
            's3mount_container_memory_limit_bytes{pod="p"}': "100x120",
        },
    ),
    "S3mountWebhookDown": (
        {f"s3mount_webhook_ready{{{HOOK}}}": "0x120"},
        {f"s3mount_webhook_ready{{{HOOK}}}": "0x120", 's3mount_webhook_ready{pod="i"}': "1x120"},
    ),
    "S3mountWebhookBug": (
        {f's3mount_webhook_reviews_total{{{HOOK},decision="error"}}': "0x100 1x20"},
        {f's3mount_webhook_reviews_total{{{HOOK},decision="denied"}}': "0x100 1x20"},
    ),
    "S3mountWebhookSlow": (
        {
            f's3mount_webhook_review_seconds_bucket{{{HOOK},le="1.0"}}': "0+1x120",
            f's3mount_webhook_review_seconds_bucket{{{HOOK},le="5.0"}}': "0+9x120",
            f's3mount_webhook_review_seconds_bucket{{{HOOK},le="+Inf"}}': "0+9x120",
        },
        {
            f's3mount_webhook_review_seconds_bucket{{{HOOK},le="1.0"}}': "0+9x120",
            f's3mount_webhook_review_seconds_bucket{{{HOOK},le="+Inf"}}': "0+9x120",
        },
    ),
    "S3mountCertificateExpires": (
        {f"s3mount_webhook_certificate_expiry_timestamp_seconds{{{HOOK}}}": "80000x120"},
        {
            f"s3mount_webhook_certificate_expiry_timestamp_seconds{{{HOOK}}}": "200000x120",
            's3mount_webhook_certificate_expiry_timestamp_seconds{pod="i"}': "0x120",
        },
    ),
    "S3mountCertificateRefused": (
        {f"s3mount_webhook_certificate_refused_total{{{HOOK}}}": "0x100 1x20"},
        {f"s3mount_webhook_certificate_refused_total{{{HOOK}}}": "0x120"},
    ),
    "S3mountPolicyRefused": (
        {f"s3mount_webhook_policy_valid{{{HOOK}}}": "0x120"},
        {f"s3mount_webhook_policy_valid{{{HOOK}}}": "1x120"},
    ),
}
NOW = "110m"


def _case(name: str, series: dict[str, str], fires: bool) -> dict[str, Any]:
    """Write a test of promtool's: the number of alerts after 110 minutes."""
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"{name} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": each, "values": told} for each, told in series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": NOW,
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
        ],
    }


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """Each has series that fire it after 110 minutes and similar ones that don't."""
    assert FIRES.keys() == {alert["alert"] for alert in rules.alerts()}
    cases = [
        _case(name, series, fires)
        for name, (loud, quiet) in FIRES.items()
        for series, fires in ((loud, True), (quiet, False))
    ]
    told = {"rule_files": [str(rules.write(tmp_path))], "evaluation_interval": "1m", "tests": cases}
    file = tmp_path / "tests.json"
    file.write_text(json.dumps(told))
    assert "SUCCESS" in promtool("test", "rules", file)


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """With all of promtool's lints."""
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", rules.write(tmp_path))
    assert f"{len(FIRES)} rules found" in said


@pytest.mark.parametrize("alert", rules.alerts(), ids=[each["alert"] for each in rules.alerts()])
def test_an_alert_leads_to_its_runbook(alert: dict[str, Any]) -> None:
    """A heading of docs/troubleshooting.md with a text below it; a severity, and our metrics."""
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert (page, anchor) == ("docs/troubleshooting.md", alert["alert"].lower())
    text = re.findall(rf"^### {alert['alert']}\n\n(.+)", TROUBLESHOOTING, re.MULTILINE)
    assert text != []
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert exposed.unknown(alert["expr"]) == set()
