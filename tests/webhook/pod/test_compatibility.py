"""docs/platforms.md: pods on nodes that can't run a mount are denied."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review.decision import Decider, Denied


def affinity(*terms: dict[str, list[str]]) -> dict[str, Any]:
    """Nodes that meet one of the terms: values by label."""
    selected = [
        {
            "matchExpressions": [
                {"key": key, "operator": "In", "values": values} for key, values in term.items()
            ]
        }
        for term in terms
    ]
    required = {"nodeSelectorTerms": selected}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


OS, FARGATE = "kubernetes.io/os", "eks.amazonaws.com/compute-type"
DENIED: dict[str, dict[str, Any]] = {
    "windows": {"nodeSelector": {OS: "windows"}},
    "windows by affinity": {"affinity": affinity({OS: ["windows"], "zone": ["a"]})},
    "fargate": {"affinity": affinity({FARGATE: ["fargate"]})},
    "fargate's scheduler": {"schedulerName": "fargate-scheduler"},
    "virtual nodes": {"nodeSelector": {"type": "virtual-kubelet"}},
}
FINE: dict[str, dict[str, Any]] = {
    "either": {"affinity": affinity({OS: ["windows", "linux"]})},
    "one of two": {"affinity": affinity({OS: ["windows"]}, {OS: ["linux"]})},
    "linux": {"affinity": affinity({OS: ["linux"]})},
    "no terms": {"affinity": affinity()},
    "empty": {"affinity": {"nodeAffinity": {}}},
}


def decide(spec: dict[str, Any], labels: dict[str, str] | None = None) -> Any:
    pod = reviews.pod(**spec)
    pod["metadata"]["labels"] = labels or {}
    return Decider(Platform()).decide(pod, "shop")


@pytest.mark.parametrize("name", DENIED)
def test_nodes_that_cant_mount_are_denied(name: str) -> None:
    """The pod would wait for ever, or be refused by its node."""
    decision = decide(DENIED[name])
    assert isinstance(decision, Denied)
    assert "need" in decision.problems[0].rule or "run no privileged" in decision.problems[0].rule


@pytest.mark.parametrize("name", FINE)
def test_nodes_that_may_be_others_are_fine(name: str) -> None:
    """Only a pod that can run nowhere else is denied."""
    assert not isinstance(decide(FINE[name]), Denied)


def test_a_pod_that_fargate_has_taken_is_denied() -> None:
    """Its own webhook came first and left a label."""
    assert isinstance(decide({}, {"eks.amazonaws.com/fargate-profile": "apps"}), Denied)
