"""What the sidecars ask for fits to what the rest of the pod asks for."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review import admission
from webhook.review.decision import Decider, Denied, Injected

GIB = {"ephemeral-storage": "1Gi"}
EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


def resources(platform: Platform | None = None, **spec: Any) -> list[dict[str, Any]]:
    """The resources of keeper and worker in a pod with this spec."""
    pod = injected(platform, **spec)
    return [item["resources"] for item in pod["spec"]["initContainers"]]


def injected(
    platform: Platform | None = None, annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    pod = reviews.pod(annotations, **spec)
    decision = Decider(platform or Platform()).decide(pod, "shop")
    assert isinstance(decision, Injected)
    return admission.apply(pod, decision.patch)


def app(**parts: Any) -> list[dict[str, Any]]:
    return [{"name": "app", "image": "app:1", "resources": parts}]


def test_the_cache_is_asked_for() -> None:
    """The scheduler counts the cache's volume, and nothing limits a pod that has no limits."""
    keeper, worker = resources()
    assert worker["requests"]["ephemeral-storage"] == "1191Mi"
    assert "ephemeral-storage" not in {**keeper["limits"], **worker["limits"]}


def test_a_pod_with_limits_gets_room_for_the_cache() -> None:
    """The kubelet adds up the limits there are: without ours the cache would use up theirs."""
    keeper, worker = resources(containers=app(limits=GIB))
    assert worker["limits"]["ephemeral-storage"] == "1191Mi"
    assert keeper["limits"]["ephemeral-storage"] == "64Mi"


def test_a_platform_may_ask_for_no_storage() -> None:
    """`S3MOUNT_REQUEST_STORAGE: false`."""
    _, worker = resources(Platform(request_storage=False))
    assert "ephemeral-storage" not in worker["requests"]


def test_requests_stay_within_those_of_the_pod() -> None:
    """The API server refuses a pod whose containers ask for more than the pod as a whole."""
    whole = {"requests": {"cpu": "100m", "memory": "300Mi"}, "limits": {"memory": "512Mi"}}
    theirs = {"cpu": "90m", "memory": "200Mi"}
    keeper, worker = resources(resources=whole, containers=app(requests=theirs))
    assert keeper["requests"].items() >= {"cpu": "2m", "memory": "32Mi"}.items()
    assert worker["requests"].items() >= {"cpu": "8m", "memory": "68Mi"}.items()
    assert worker["limits"]["memory"] == "512Mi"


def test_a_pod_that_leaves_nothing_is_asked_for_nothing() -> None:
    """Zero, since a limit without a request would count as one."""
    whole = {"limits": {"cpu": "1", "memory": "1Gi"}}
    theirs = {"cpu": "1", "memory": "1Gi"}
    _, worker = resources(resources=whole, containers=app(limits=theirs))
    assert worker["requests"].items() >= {"cpu": "0", "memory": "0"}.items()


def test_a_pod_too_small_for_any_mount_is_denied() -> None:
    """With the limit and what the worker needs."""
    pod = reviews.pod(resources={"limits": {"memory": "64Mi"}})
    decision = Decider(Platform()).decide(pod, "shop")
    assert isinstance(decision, Denied)
    assert decision.problems[0].where == "spec.resources.limits.memory"


@pytest.mark.parametrize("quantity", ["", "x", 7, None, []])
def test_odd_quantities_are_left_to_the_api_server(quantity: Any) -> None:
    """It has words of its own for them."""
    whole = {"requests": {"cpu": quantity}, "limits": {"memory": quantity}}
    decision = Decider(Platform()).decide(reviews.pod(resources=whole), "shop")
    assert isinstance(decision, Injected | Denied)


def test_read_only_mounts_keep_no_node() -> None:
    """The cluster autoscaler may remove a node with their cache, and not one with unsent data."""
    read_only = reviews.BUCKET | {"s3.mount/read-only": "true"}
    assert injected(annotations=read_only)["metadata"]["annotations"][EVICTABLE] == "s3-mount-cache"
    assert EVICTABLE not in injected()["metadata"]["annotations"]
    own = injected(annotations=read_only | {EVICTABLE: "mine"})
    assert own["metadata"]["annotations"][EVICTABLE] == "mine"
