"""Pods as nobody should write them, and as somebody did."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review.decision import Decider, Decision, Denied, Injected, Skipped


def decide(pod: dict[str, Any]) -> Decision:
    return Decider(Platform()).decide(pod, "shop")


def app(**fields: Any) -> dict[str, Any]:
    return {"name": "app", "image": "app:1", **fields}


def problems(decision: Decision) -> list[str]:
    assert isinstance(decision, Denied), decision
    return [str(problem) for problem in decision.problems]


def test_device_without_a_path_is_told() -> None:
    """A field that Kubernetes requires is missing: the user's problem, told as that."""
    (problem,) = problems(decide(reviews.pod(containers=[app(volumeDevices=[{"name": "x"}])])))
    assert "spec.containers[0].volumeDevices[0].devicePath: is missing" in problem


@pytest.mark.parametrize("key", ["s3.mount/bucket", "s3.mount/path"])
def test_annotation_without_a_value_is_empty(key: str) -> None:
    """`s3.mount/bucket:` with nothing behind it is a mistake, not the absence of a wish."""
    pod = reviews.pod({"s3.mount/bucket": "my-bucket"} | {key: None})  # type: ignore[dict-item]
    (problem,) = problems(decide(pod))
    assert problem.startswith(f'{key}: ""')


@pytest.mark.parametrize(
    "path", ["/var/./s3", "/var/x/../s3", "//var//s3", "var/s3", "/var/s3/", "/var/s3/deep", "/"]
)
def test_mount_path_means_what_the_runtime_makes_of_it(path: str) -> None:
    """However another mount writes the same place, it is the same place."""
    mounts = [{"name": "work", "mountPath": path}]
    (problem,) = problems(decide(reviews.pod(containers=[app(volumeMounts=mounts)])))
    assert "is equal to, above or below the mount at" in problem


def test_pod_without_containers_is_left_to_the_api_server() -> None:
    """It refuses such a pod; there is nothing to warn of before."""
    decision = decide(reviews.pod(containers=[]))
    assert isinstance(decision, Injected)
    assert decision.warnings == ()


@pytest.mark.parametrize("field", ["shareProcessNamespace", "hostPID"])
def test_shared_processes_are_warned_of(field: str) -> None:
    """Whoever sees the mount's processes can end them, or read what they read."""
    decision = decide(reviews.pod(**{field: True}))
    assert isinstance(decision, Injected)
    assert [field in str(warning) for warning in decision.warnings] == [True]


@pytest.mark.parametrize(
    "pod",
    [
        reviews.pod({"S3.MOUNT/bucket": "my-bucket"}),
        reviews.pod({"s3.mount": "x", "as3.mount/bucket": "b"}),
        {"metadata": None, "spec": {"containers": []}},
        {"spec": {"containers": []}},
    ],
    ids=["capitals", "near", "null", "none"],
)
def test_what_only_resembles_an_annotation_asks_for_nothing(pod: dict[str, Any]) -> None:
    """Keys are compared as Kubernetes compares them: exactly."""
    assert isinstance(decide(pod), Skipped)


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never", None])
def test_restart_policy_of_the_pod_doesnt_matter(policy: str | None) -> None:
    """The sidecars have their own, which is Always."""
    decision = decide(reviews.pod(restartPolicy=policy))
    assert isinstance(decision, Injected)
    (sidecars,) = [op["value"] for op in decision.patch if op["path"] == "/spec/initContainers"]
    assert [each["restartPolicy"] for each in sidecars] == ["Always", "Always"]
