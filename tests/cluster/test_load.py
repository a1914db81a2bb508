"""Many pods at once: how fast they start, and what they cost when nobody uses them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest

from tests.cluster import pods
from tests.cluster.conftest import Place

pytestmark = pytest.mark.alone
Record = Callable[[str, object], None]
COUNT = 20
IDLE_SECONDS = 180
# On 2 cores that have nothing else to do: there 20 pods without a bucket need less than 5 s. One
# pod waits for the kubelet, about a second for each sidecar: it looks at containers and asks
# startup probes once a second.
TARGET, TARGET_OF_ONE, QUIET = 15.0, 4.0, 5.0
SIDECARS = ("s3-mount-keeper", "s3-mount-worker")
SCRAPE = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:20303/metrics", timeout=20).read().decode())
"""


def crowd(place: Place, prefix: str, count: int, notes: dict[str, str]) -> tuple[list[str], float]:
    """Start pods together; return their names, and the seconds until all are Ready."""
    names = [f"{prefix}-{number:02d}" for number in range(count)]
    bodies = [pods.pod(name, place.namespace, place.template(notes=notes)) for name in names]
    begun = time.monotonic()
    place.cluster.create(*bodies)
    place.cluster.until_ready(place.namespace, *names, seconds=240)
    return names, time.monotonic() - begun


def test_twenty_pods_at_once(place: Place, record_property: Record) -> None:
    """They are Ready within 15 s and one within 4 s, on two cores that nobody else uses."""
    seconds = {}
    cost = 0.0
    for what, notes in (("without", {"other": "x"}), ("with", place.notes())):
        for count in (1, COUNT):
            names, seconds[what, count] = crowd(place, f"{what}-{count}", count, notes)
            if (what, count) == ("with", COUNT):
                cost = _cost(place, place.pod(names[0])["spec"]["nodeName"])[0] / COUNT
            place.end(*names, seconds=240)
    busy = seconds["without", COUNT] > QUIET
    record_property(
        "measured",
        f"{COUNT} pods Ready after {seconds['with', COUNT]:.1f} s, "
        f"without a bucket {seconds['without', COUNT]:.1f} s; "
        f"one after {seconds['with', 1]:.1f} s, without {seconds['without', 1]:.1f} s; "
        f"{cost:.2f} core seconds of a pod's sidecars"
        + ("; a busy machine, the targets weren't judged" if busy else ""),
    )
    assert busy or seconds["with", COUNT] < TARGET
    assert busy or seconds["with", 1] < TARGET_OF_ONE


def test_idle_pods_cost_nothing(place: Place, record_property: Record) -> None:
    """In three minutes 20 idle pods ask the store for nothing; the table has CPU and memory."""
    place.bucket.put_many((f"name-{number:03d}" for number in range(50)), b"x")
    names, _ = crowd(place, "idle", COUNT, place.notes())
    node = place.pod(names[0])["spec"]["nodeName"]
    # The kubelet has looked at the volumes once, and starts are over.
    time.sleep(30)
    requests, cpu, _ = _requests(place, names), *_cost(place, node)
    time.sleep(IDLE_SECONDS)
    cpu_after, memory = _cost(place, node)
    asked = _requests(place, names) - requests
    record_property(
        "measured",
        f"a pod's sidecars: {asked / COUNT:.2f} requests in {IDLE_SECONDS} s, "
        f"{(cpu_after - cpu) / COUNT / IDLE_SECONDS * 1000:.1f} millicores, "
        f"{memory / COUNT / 2**20:.0f} MiB",
    )
    place.end(*names, seconds=240)
    assert asked == 0


def _requests(place: Place, names: list[str]) -> float:
    """Return the requests that the workers of pods have sent so far."""
    total = 0.0
    for name in names:
        words = ("-n", place.namespace, "exec", name, "-c", "app", "--", "python", "-c", SCRAPE)
        found = re.findall(
            r"^s3mount_store_requests_total{.*} (\S+)$", place.cluster.must(*words), re.MULTILINE
        )
        total += sum(map(float, found))
    return total


def _cost(place: Place, node: str) -> tuple[float, float]:
    """Return the CPU seconds and the bytes of memory of all sidecars in the namespace."""
    text = place.cluster.must("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")
    found = [
        container
        for pod in json.loads(text)["pods"]
        if pod["podRef"]["namespace"] == place.namespace
        for container in pod["containers"]
        if container["name"] in SIDECARS
    ]
    return (
        sum(each["cpu"]["usageCoreNanoSeconds"] for each in found) / 1e9,
        sum(each["memory"]["workingSetBytes"] for each in found),
    )
