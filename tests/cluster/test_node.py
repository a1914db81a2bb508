"""Node mode alone: the plugin is killed and upgraded, and who may use its volumes.

The rest of the checks run in both modes; here `place` is a namespace that enforces Pod Security
`restricted`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.cluster import ledger, pods
from tests.cluster.cluster import Manifest, until
from tests.cluster.conftest import Place
from tests.cluster.installation import PLUGIN, SYSTEM, Installation
from tests.cluster.node import Node
from tests.cluster.test_kills import WORKER, application, going_on, log
from tests.cluster.test_load import SCRAPE, Record, crowd

# One plugin serves all checks that run at the time.
pytestmark = pytest.mark.alone
READERS, LARGE = 10, 1 << 30
METRICS = ("store_received", "node_cache_kept", "node_cache_read", "node_cache_passed")


def taken_back(product: Installation) -> bool:
    """Say whether the running plugin has got a mount from its worker."""
    return (
        "took the mount back"
        in product.cluster.kubectl(
            *("-n", SYSTEM, "logs", product.plugin()["metadata"]["name"], "-c", "plugin")
        ).out
    )


def is_ready(place: Place, name: str) -> bool:
    """Say whether the worker of a pod is Ready."""
    status = place.pod(name)["status"].get("initContainerStatuses", [])
    return all(each.get("ready") for each in status)


def by_hand(place: Place, **spec: Any) -> Manifest:
    """Return a pod that names the driver itself."""
    volume = {
        "name": "mine",
        "csi": {"driver": "s3.mount", "volumeAttributes": {"mount": "default", "token": "x"}},
    }
    template = place.template(notes={"other": "x"}, volumes=[volume], **spec)
    return pods.pod("by-hand", place.namespace, template)


def test_no_container_is_privileged(place: Place) -> None:
    """The namespace enforces `restricted`; the pod has the worker, and a volume of the driver."""
    pod = place.start("plain")
    spec = pod["spec"]
    assert [each["name"] for each in spec["initContainers"]] == [WORKER]
    assert [v["csi"]["driver"] for v in spec["volumes"] if "csi" in v] == ["s3.mount"]
    place.sh("plain", "echo mine > /data/mine")
    assert place.bucket.get("mine") == b"mine\n"
    place.end("plain")


def test_plugin_killed_then_worker(place: Place, product: Installation, the_node: Node) -> None:
    """The application notices neither; the next plugin has the mount from its worker."""
    with application(place):
        the_node.kill(product.plugin(), "plugin")
        going_on(place, "ledger")
        until("the next plugin has the mount", lambda: taken_back(product), 90)
        the_node.kill_serving(place.pod("ledger"), WORKER)
        going_on(place, "ledger")


def test_plugin_upgraded_under_load(place: Place, product: Installation) -> None:
    """A rolling restart of the DaemonSet: no error, and pods start and end afterwards."""
    with application(place):
        before = product.plugin()["metadata"]["uid"]
        product.cluster.must("-n", SYSTEM, "rollout", "restart", f"daemonset/{PLUGIN}")
        product.until_plugins_rolled_out()
        assert product.plugin()["metadata"]["uid"] != before
        until("the new plugin has the mount", lambda: taken_back(product), 60)
        going_on(place, "ledger")
        place.start("later")
        place.end("later")


def test_plugin_and_worker_killed_at_once(
    place: Place, product: Installation, the_node: Node
) -> None:
    """The pod is no longer Ready, what was promised is in the bucket, and the pod ends."""
    pod = place.start("ledger", place.template(ledger.COMMAND))
    going_on(place, "ledger")
    promised = ledger.promises(log(place, "ledger"))
    kill_both(product, the_node, pod)
    until("not Ready", lambda: not is_ready(place, "ledger"), 90)
    place.end("ledger", seconds=120)
    assert ledger.broken(promised, place.bucket) == {}
    assert the_node.mounts(pod["metadata"]["uid"]) == []


def test_pod_deleted_while_plugin_and_worker_are_dead(
    place: Place, product: Installation, the_node: Node
) -> None:
    """It ends within its grace period, and nothing stays mounted."""
    pod = place.start("ledger", place.template(ledger.COMMAND))
    going_on(place, "ledger")
    kill_both(product, the_node, pod)
    place.end("ledger", seconds=90)
    until("nothing is mounted", lambda: not the_node.mounts(pod["metadata"]["uid"]), 10)


def kill_both(product: Installation, the_node: Node, pod: Manifest) -> None:
    """Kill all processes of the plugin and of a pod's worker by one command."""
    found = [
        pid
        for owner, container in ((product.plugin(), "plugin"), (pod, WORKER))
        for pid in the_node.processes(owner, container)
    ]
    the_node.run(f"kill -9 {' '.join(map(str, found))}")


def test_a_volume_by_hand_is_refused(place: Place) -> None:
    """In a namespace with the label and in one without; kubectl says how to ask for a bucket."""
    said = place.cluster.apply(by_hand(place))
    assert said.code != 0
    assert "only the webhook of s3mount may write volumes of the driver" in said.err
    other = f"{place.namespace}-off"
    place.cluster.create(pods.namespace(other, injection=False))
    body = by_hand(place)
    body["metadata"]["namespace"] = other
    said = place.cluster.apply(body)
    place.cluster.must("delete", "namespace", other, "--wait=false")
    assert said.code != 0
    assert "label the namespace" in said.err


def test_ten_pods_share_one_download(
    place: Place, product: Installation, record_property: Record
) -> None:
    """Of 1 GiB that all of them read at the same time each byte leaves the store once."""
    content = put_large(place)
    with product.setting("S3MOUNT_CACHE", "node"):
        names, _ = crowd(place, "reader", READERS, place.notes(cache_size="128Mi"))
        begun = time.monotonic()
        with ThreadPoolExecutor(READERS) as pool:
            digests = set(pool.map(lambda name: place.sh(name, "sha256sum /data/large"), names))
        seconds = time.monotonic() - begun
        counted = {what: metric(place, names, what) for what in METRICS}
    place.end(*names, seconds=240)
    record_property(
        "measured",
        f"{READERS} pods read {LARGE >> 20} MiB each in {seconds:.0f} s; "
        + ", ".join(f"{what} {bytes_ / 2**20:.0f} MiB" for what, bytes_ in counted.items()),
    )
    assert {each.split()[0] for each in digests} == {content}
    # What a plugin without CPU for two seconds leaves to the pods themselves isn't judged here.
    received = counted["store_received"] - counted["node_cache_passed"]
    assert received < 1.01 * LARGE
    assert counted["node_cache_passed"] < 0.1 * READERS * LARGE


def put_large(place: Place) -> str:
    """Make the object `large` of random bytes; return their SHA-256."""
    seen = hashlib.sha256()
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(LARGE >> 20):
            block = os.urandom(1 << 20)
            seen.update(block)
            file.write(block)
        file.flush()
        place.bucket.client.upload_file(file.name, place.bucket.name, "large")
    return seen.hexdigest()


def metric(place: Place, names: list[str], what: str) -> float:
    """Return the sum of a metric of bytes over the workers of pods."""
    total = 0.0
    for name in names:
        words = ("-n", place.namespace, "exec", name, "-c", "app", "--", "python", "-c", SCRAPE)
        text = place.cluster.must(*words)
        total += sum(
            map(float, re.findall(rf"^s3mount_{what}_bytes_total{{.*}} (\S+)$", text, re.MULTILINE))
        )
    return total
