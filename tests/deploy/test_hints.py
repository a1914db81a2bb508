"""Warnings for annotations that nobody sees, through the very expressions of the manifest."""

from typing import Any

import pytest

from tests.deploy.cel import Request, denials
from tests.deploy.rendered import manifests, one

ASKED = {"s3.mount/bucket": "my-bucket"}
RESOURCES = {
    "Pod": "pods",
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "Job": "jobs",
    "CronJob": "cronjobs",
}
UNLABELLED: dict[str, str] = {}
LABELLED = {"s3.mount/injection": "enabled"}


def workload(
    kind: str, annotations: dict[str, str] | None, outer: dict[str, str] | None = None
) -> dict[str, Any]:
    """An object whose pod has these annotations, and which has others itself."""
    metadata: dict[str, Any] = {} if annotations is None else {"annotations": annotations}
    if kind == "Pod":
        return {"kind": kind, "metadata": metadata, "spec": {}}
    template = {"template": {"metadata": metadata, "spec": {}}}
    spec = {"jobTemplate": {"spec": template}} if kind == "CronJob" else template
    return {"kind": kind, "metadata": {"annotations": outer} if outer else {}, "spec": spec}


def warnings(found: dict[str, Any], labels: dict[str, str], namespace: str = "team-a") -> list[str]:
    """What whoever applies it is told."""
    resource = RESOURCES[found["kind"]]
    request = Request("CREATE", found, resource=resource, namespace=namespace, labels=labels)
    return denials(one("ValidatingAdmissionPolicy", "s3mount-hints"), request)


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_bucket_in_a_namespace_without_the_label_is_warned_of(kind: str) -> None:
    """On the pod and in every template that pods come from."""
    (warning,) = warnings(workload(kind, ASKED), UNLABELLED)
    assert "namespace team-a has no label s3.mount/injection=enabled" in warning
    assert warnings(workload(kind, ASKED), {"s3.mount/injection": "yes"}) == [warning]


@pytest.mark.parametrize("kind", RESOURCES)
def test_nothing_is_said_of_what_works(kind: str) -> None:
    """With the label; without annotations; with those of others; with the status we wrote."""
    assert warnings(workload(kind, ASKED), LABELLED) == []
    for annotations in (None, {}, {"a": "b"}, {"s3.mount/injected": "{}"}):
        assert warnings(workload(kind, annotations), UNLABELLED) == []


@pytest.mark.parametrize("kind", RESOURCES)
def test_keys_that_arent_in_lower_case_are_warned_of(kind: str) -> None:
    """Kubernetes takes them; the webhook is called for lower case alone."""
    (warning,) = warnings(workload(kind, {"S3.mount/bucket": "b"}), LABELLED)
    assert "lower case" in warning


@pytest.mark.parametrize("kind", [kind for kind in RESOURCES if kind != "Pod"])
def test_annotations_of_the_workload_itself_are_warned_of(kind: str) -> None:
    """They belong on the template."""
    (warning,) = warnings(workload(kind, None, ASKED), LABELLED)
    assert f"on a {kind} itself do nothing" in warning


def test_our_own_namespaces_are_left_alone() -> None:
    """Nobody can label them for buckets."""
    assert warnings(workload("Pod", ASKED), UNLABELLED, "kube-system") == []


def test_a_hint_refuses_nothing() -> None:
    """It warns and leaves a line in the audit log, and fails open."""
    binding = one("ValidatingAdmissionPolicyBinding", "s3mount-hints")
    assert binding["spec"]["validationActions"] == ["Warn", "Audit"]
    policy = one("ValidatingAdmissionPolicy", "s3mount-hints")
    assert policy["spec"]["failurePolicy"] == "Ignore"


def test_hints_can_be_left_out() -> None:
    """`deploy/overlays/no-hints` has the guards and no hints."""
    names = {m["metadata"]["name"] for m in manifests("overlays/no-hints")}
    assert "s3mount-hints" not in names
    assert "s3mount-created-pods" in names
