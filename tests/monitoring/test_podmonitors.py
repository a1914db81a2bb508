"""What deploy/monitoring makes, and that it finds what it scrapes."""

from typing import Any

from tests.deploy import rendered
from tests.webhook import goldens
from webhook.review.decision import Injected


def ports(pod: dict[str, Any]) -> set[str]:
    """Return the names of a pod's ports."""
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    return {port.get("name", "") for each in containers for port in each.get("ports", [])}


def pod_with_a_bucket() -> dict[str, Any]:
    """Return what the webhook makes of the first golden pod that is injected."""
    for case in map(goldens.read, goldens.cases()):
        decision = case.decide()
        if isinstance(decision, Injected) and decision.patch:
            return goldens.injected(case, decision)
    raise AssertionError("no pod with a bucket among the goldens")


def test_monitors_scrape_ports_that_pods_have() -> None:
    """The worker's in any pod with a bucket, the webhook's in its own namespace."""
    mounts = rendered.one("PodMonitor", "s3mount-mounts", "monitoring")
    webhook = rendered.one("PodMonitor", "s3mount-webhook", "monitoring")
    deployment = rendered.one("Deployment", "s3mount-webhook")
    (wanted,) = mounts["spec"]["podMetricsEndpoints"]
    assert wanted["port"] in ports(pod_with_a_bucket()["spec"])
    (wanted,) = webhook["spec"]["podMetricsEndpoints"]
    template = deployment["spec"]["template"]
    assert wanted["port"] in ports(template["spec"])
    labels = template["metadata"]["labels"] | deployment["spec"]["selector"]["matchLabels"]
    assert webhook["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert webhook["spec"]["namespaceSelector"]["matchNames"] == ["s3mount-system"]


def test_grafana_finds_the_dashboard() -> None:
    """By the label that its sidecar looks for."""
    found = rendered.one("ConfigMap", "s3mount-dashboard", "monitoring")
    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert '"uid": "s3mount"' in found["data"]["s3mount.json"]
