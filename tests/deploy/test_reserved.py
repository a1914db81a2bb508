"""The guard of our names: where nobody asks the webhook, nothing bears them."""

from typing import Any

import pytest

from tests.deploy.cel import Request
from tests.deploy.guards import POD, changed, created, guard, guards

UNLABELLED: dict[str, Any] = {"labels": {"other": "label"}}
# With our own image, a shell of the attacker's and the node's disk.
ROOT = {
    "name": "s3-mount-keeper",
    "image": "s3mount:0.1.0",
    "command": ["sh", "-c", "id"],
    "securityContext": {"privileged": True},
    "volumeMounts": [{"name": "host", "mountPath": "/host"}],
}
HOST = {"name": "host", "hostPath": {"path": "/"}}


def pod(**fields: Any) -> dict[str, Any]:
    """A pod that asks for nothing."""
    spec = {"containers": [{"name": "app", "image": "app:1"}], "volumes": [HOST]}
    return {"metadata": {"name": "x"}, "spec": spec | fields}


PLACES = {
    "init container": {"initContainers": [ROOT]},
    "native sidecar": {"initContainers": [ROOT | {"restartPolicy": "Always"}]},
    "container": {"containers": [ROOT]},
    "worker": {"initContainers": [ROOT | {"name": "s3-mount-worker"}]},
}


@pytest.mark.parametrize("fields", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("where", [{}, UNLABELLED, {"labels": {}}], ids=str)
def test_nobody_bears_the_names_of_our_sidecars(fields, where):
    """Neither in a pod that asks for no bucket nor in a namespace without the label."""
    found = guard("s3mount-reserved-names", created(pod(**fields), **where))
    assert found != []
    assert "only the webhook of s3mount may put containers named" in found[0]


def test_a_whole_pod_of_ours_is_refused_where_the_webhook_is_not_asked():
    """Copied from elsewhere it would run with whatever config somebody wrote into it."""
    (message,) = guard("s3mount-reserved-names", created(POD, **UNLABELLED))
    assert "label the namespace s3.mount/injection=enabled" in message
    (message, _) = guard("s3mount-reserved-names", changed("del meta['annotations']"))
    assert "ask for a bucket with the annotation" in message
    assert guards(created(POD)) == []


@pytest.mark.parametrize("label", ["disabled", "Enabled", ""])
def test_only_the_label_that_the_webhook_goes_by_counts(label):
    """Another value is no label at all."""
    labels = {"s3.mount/injection": label}
    assert guard("s3mount-reserved-names", created(POD, labels=labels)) != []


def test_other_names_with_our_prefix_are_reserved_where_the_label_is():
    """In other namespaces they are somebody else's, and lead nowhere."""
    for fields in (
        {"containers": [{"name": "s3-mount-sync", "image": "x"}]},
        {"initContainers": [{"name": "s3-mount", "image": "x"}]},
        {"volumes": [{"name": "s3-mount-data", "emptyDir": {}}]},
    ):
        assert len(guard("s3mount-reserved-names", created(pod(**fields)))) == 1
        assert guard("s3mount-reserved-names", created(pod(**fields), **UNLABELLED)) == []


def test_names_that_only_resemble_ours_are_nobodys():
    """The prefix ends with a dash."""
    fields = {"containers": [{"name": "s3-mountain", "image": "x"}]}
    assert guard("s3mount-reserved-names", created(pod(**fields))) == []


def test_pods_without_a_name_of_ours_are_not_looked_at():
    """In whatever namespace, privileged or not."""
    for where in ({}, UNLABELLED):
        plain = pod(initContainers=[ROOT | {"name": "mine"}])
        assert guard("s3mount-reserved-names", created(plain, **where)) == []


@pytest.mark.parametrize("namespace", ["kube-system", "s3mount-system"])
def test_the_clusters_own_namespaces_are_left_alone(namespace):
    """Who creates pods there owns the cluster, or s3mount, anyway."""
    request = created(POD, namespace=namespace, labels={})
    assert guard("s3mount-reserved-names", request) == []


def test_updates_are_not_looked_at():
    """The containers of a running pod can't change."""
    request = Request("UPDATE", pod(**PLACES["container"]), pod(), labels={})
    assert guard("s3mount-reserved-names", request) == []
