"""Parts of the cluster and the store go away and come back: no byte and no object is lost."""

from __future__ import annotations

import pytest

from tests.cluster import ledger, pods
from tests.cluster.cluster import until
from tests.cluster.conftest import Place
from tests.cluster.node import Node
from tests.cluster.test_kills import application, going_on, log

OBJECTS = 300
pytestmark = pytest.mark.alone


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
        until("API and kubelet answer", lambda: _answers(place), 90)
        going_on(place, "ledger")
        # docs/troubleshooting.md: one that has just started has to read the guards' parameter kind.
        until("pods are admitted", lambda: place.refusal() == "", 60)


def _answers(place: Place) -> bool:
    return place.cluster.kubectl("-n", place.namespace, "logs", "ledger", "--tail=1").code == 0


def test_store_gone_for_a_minute(place: Place, the_node: Node) -> None:
    """An outage shorter than the retry budget is waited for."""
    with application(place, retry_for="240s"):
        the_node.stop("s3")
        the_node.run("sleep 60")
        the_node.start("s3")
        going_on(place, "ledger")


def test_store_frozen_for_a_minute(place: Place, the_node: Node) -> None:
    """A store that takes connections and says nothing is waited for, too."""
    with application(place, retry_for="240s"):
        the_node.freeze("s3")
        the_node.run("sleep 60")
        the_node.thaw("s3")
        going_on(place, "ledger")


def test_drain_of_the_node(place: Place, the_node: Node) -> None:
    """Pods with buckets are evicted, their data is in the bucket, and they start again."""
    template = place.template(ledger.COMMAND)
    place.cluster.create(
        pods.workload("Deployment", "drained", place.namespace, template, replicas=3)
    )
    here, rollout = ("-n", place.namespace), ("rollout", "status", "deployment/drained")
    place.cluster.must(*here, *rollout, "--timeout=120s")
    running = place.cluster.pods(place.namespace)
    names = [pod["metadata"]["name"] for pod in running]
    for name in names:
        until("files", lambda n=name: len(ledger.promises(log(place, n))) > 5, 60)
    promised = [ledger.promises(log(place, name)) for name in names]
    node_name = running[0]["spec"]["nodeName"]
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app=drained")
    try:
        place.cluster.must("drain", node_name, *flags, "--timeout=120s", seconds=150)
        for pod in running:
            assert the_node.mounts(pod["metadata"]["uid"]) == []
    finally:
        place.cluster.must("uncordon", node_name)
    assert [ledger.broken(each, place.bucket) for each in promised] == [{}, {}, {}]
    place.cluster.must(*here, *rollout, "--timeout=120s")
