"""docs/annotations.md, "What is warned of": each warning for its reason, and short enough."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import read_platform
from webhook.review.decision import Decider, Injected
from webhook.review.lookup import FixedFacts
from webhook.review.warnings import LONGEST

# As long as the API allows them.
CONTAINER, HOST = "c" * 63, "h" * 240
APP = {"name": CONTAINER, "image": "app:1"}
SMALL = {"cpu": "1", "memory": "1Gi"}
CASES: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, str]]] = {
    "no-resources": (
        {},
        {},
        {f"S3MOUNT_WORKER_{k}": "" for k in ("CPU_REQUEST", "MEMORY_REQUEST", "MEMORY_LIMIT")},
    ),
    "little-memory": ({"memory-limit": "128Mi", "bucket.two": "b-2", "path.two": "/two"}, {}, {}),
    "not-guaranteed": (
        {},
        {"containers": [APP | {"resources": {"limits": SMALL, "requests": SMALL}}]},
        {},
    ),
    "short-grace": ({"cache-size": "100Gi"}, {"terminationGracePeriodSeconds": 600}, {}),
    "early-container": (
        {},
        {"initContainers": [APP, {"name": "istio-proxy", "restartPolicy": "Always"}]},
        {},
    ),
    "late-mesh": ({}, {"containers": [APP, {"name": "istio-proxy"}]}, {}),
    "no-secret": ({"secret": "s" * 253}, {}, {}),
    "unencrypted": ({"endpoint": f"http://{HOST}"}, {}, {}),
    "owner": (
        {"path": "/" + "p" * 1000, "uid": "2147483647"},
        {"containers": [APP | {"securityContext": {"runAsUser": 1000}}]},
        {},
    ),
    "shared-processes": ({}, {"shareProcessNamespace": True}, {}),
    "no-metrics": ({}, {"containers": [APP | {"ports": [{"containerPort": 20303}]}]}, {}),
}


class NoSecrets(FixedFacts):
    """Knows that no Secret exists."""

    def has_secret(self, _namespace: str, _name: str) -> bool:
        return False


def warned(case: str) -> dict[str, str]:
    """The warnings of a case, by reason."""
    annotations, spec, environ = CASES[case]
    given = {"bucket": "my-bucket"} | annotations
    pod = reviews.pod({f"s3.mount/{key}": value for key, value in given.items()}, **spec)
    decision = Decider(read_platform(environ), lookup=NoSecrets()).decide(pod, "shop")
    assert isinstance(decision, Injected), decision
    return {each.reason: str(each) for each in decision.warnings}


@pytest.mark.parametrize("case", CASES)
def test_what_will_work_badly_is_told(case: str) -> None:
    """Each warning has its reason, and none is longer than the API server passes on."""
    found = warned(case)
    assert case in found
    assert all(0 < len(text) <= LONGEST for text in found.values())


def test_a_pod_that_will_work_well_gets_no_warning() -> None:
    """Nobody reads warnings that come with every pod."""
    decision = Decider(read_platform({})).decide(reviews.pod(), "shop")
    assert isinstance(decision, Injected)
    assert decision.warnings == ()


@pytest.mark.parametrize("key", ["s3.mount/bucket", "s3.mount/injection", "s3.mount/" + "k" * 54])
def test_keys_among_the_labels_are_told(key: str) -> None:
    """A label that looks like an annotation of ours, on a pod that has none: skipped, and told."""
    pod = reviews.pod({})
    pod["metadata"]["labels"] = {key: "x"}
    decision = Decider(read_platform({})).decide(pod, "shop")
    assert [each.reason for each in decision.warnings] == ["misplaced"]  # type: ignore[union-attr]
    assert all(len(str(each)) <= LONGEST for each in decision.warnings)  # type: ignore[union-attr]
