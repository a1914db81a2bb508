"""Parts of the cluster and the store go away and come back: no byte and no object is lost."""

from __future__ import annotations

import json

import pytest

from tests.cluster.cluster import until
from tests.cluster.conftest import Place
from tests.cluster.installation import DEPLOYMENT, SYSTEM
from tests.cluster.node import Node
from tests.cluster.test_kills import application, going_on

OBJECTS = 300


@pytest.mark.parametrize("node_object", ["kept", "deleted"])
def test_kubelet_away_and_pod_forced(place: Place, the_node: Node, node_object: str) -> None:
    """The returning kubelet removes the pod's volumes, and not one object of the bucket."""
    place.bucket.put_many((f"dir{number % 7}/{number:04d}" for number in range(OBJECTS)), b"x")
    pod = place.start("orphan")
    place.sh("orphan", "find /data > /dev/null")
    described = place.cluster.get("node", pod["spec"]["nodeName"], place.namespace)
    assert described is not None
    with the_node.without("kubelet"):
        place.cluster.delete(place.namespace, "orphan", grace=0)
        place.cluster.until_gone(place.namespace, "orphan")
        if node_object == "deleted":
            place.cluster.must("delete", "node", pod["spec"]["nodeName"])
    until("node Ready", lambda: _ready_nodes(place), 120)
    until("nothing mounted", lambda: not the_node.mounts(pod["metadata"]["uid"]), 120)
    left = [key for key in place.bucket.keys("dir") if not key.endswith("/")]
    assert len(left) == OBJECTS


def _ready_nodes(place: Place) -> bool:
    path = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
    return place.cluster.kubectl("get", "nodes", "-o", path).out.strip() == "True"


@pytest.mark.parametrize("service", ["kubelet", "containerd", "apiserver"])
def test_restart_of_a_service(place: Place, the_node: Node, service: str) -> None:
    """A mounted application doesn't notice."""
    with application(place):
        the_node.stop(service)
        the_node.start(service)
        until("the API answers", lambda: place.cluster.kubectl("get", "nodes").code == 0, 90)
        going_on(place, "ledger")


def test_store_gone_for_a_minute(place: Place, the_node: Node) -> None:
    """An outage shorter than the retry budget is waited for."""
    with application(place, retry_for="240s"):
        the_node.stop("s3")
        the_node.run("sleep 60")
        the_node.start("s3")
        going_on(place, "ledger")


def test_webhook_killed_during_creations(place: Place) -> None:
    """While a replica is deleted pods are created; none is refused."""
    template = place.template(notes=place.notes(), command=["true"])
    for number in range(30):
        if number % 10 == 5:
            pods = place.cluster.pods(SYSTEM, "app.kubernetes.io/name=s3mount")
            place.cluster.delete(SYSTEM, pods[0]["metadata"]["name"])
        metadata = {"name": f"n{number}", "namespace": place.namespace, **template["metadata"]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        said = place.cluster.kubectl(
            "create", "--dry-run=server", "-f", "-", stdin=json.dumps(body)
        )
        assert said.code == 0, said.err
    place.cluster.must("-n", SYSTEM, "rollout", "status", f"deployment/{DEPLOYMENT}")
