"""The sidecars run as the webhook wrote them: what the pod says of them is what they do."""

import contextlib
import os
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.demo.kubelet import Kubelet
from tests.fusefs.kernel import driver
from tests.proxy.proxy import Proxy
from tests.servers.ports import free_ports
from tests.servers.s3 import REGION, Bucket
from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review import admission
from webhook.review.decision import Decider, Injected

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not driver.works_here(), reason="needs /dev/fuse and the right to mount"),
]


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    with Proxy(bucket.endpoint) as made:
        yield made


@pytest.fixture
def start(bucket: Bucket, proxy: Proxy) -> Iterator[Callable[..., Kubelet]]:
    """Inject a pod under the given settings, change words of its arguments, run its sidecars."""
    annotations = {
        "s3.mount/bucket": bucket.name,
        "s3.mount/secret": "keys",
        "s3.mount/endpoint": proxy.endpoint.url,
        "s3.mount/region": REGION,
        "s3.mount/path": "/data",
    }
    made: list[Kubelet] = []

    def run(platform: Platform, **words: str) -> Kubelet:
        pod = reviews.pod(annotations)
        decision = Decider(platform).decide(pod, "shop")
        assert isinstance(decision, Injected)
        injected = admission.apply(pod, decision.patch)
        made.append(
            Kubelet(injected, Path(directory), {"keys": bucket.endpoint.credentials.environment()})
        )
        for container in made[-1].sidecars():
            changed = [words.get(f"_{word}", word) for word in container["args"]]
            made[-1].start({**container, "args": changed})
        return made[-1]

    with tempfile.TemporaryDirectory(prefix="pod-") as directory:
        Path(directory).chmod(0o755)  # the worker isn't root
        yield run
        for kubelet in made:
            kubelet.clean_up()


def test_worker_serves_metrics_where_the_pod_says(start: Callable[..., Kubelet]) -> None:
    """At /metrics of the port that the container declares, each mount by its name."""
    (port,) = free_ports(1)
    kubelet = start(Platform(worker_metrics_port=port))
    (worker,) = [c for c in kubelet.sidecars() if c["name"] == "s3-mount-worker"]
    assert [item["containerPort"] for item in worker["ports"]] == [port]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 's3mount_well{mount="default"} 1.0' in text


def test_taken_port_costs_the_metrics_alone(start: Callable[..., Kubelet]) -> None:
    """A port that something has without declaring it: the bucket is mounted all the same."""
    with socket.create_server(("", 0)) as other:
        kubelet = start(Platform(worker_metrics_port=other.getsockname()[1]))
        assert kubelet.path_of("app", "/data").is_dir()
    assert "serving no metrics" in kubelet.children["s3-mount-worker"].tail()


def test_worker_uploads_for_as_long_as_it_is_told(
    start: Callable[..., Kubelet], proxy: Proxy
) -> None:
    """With the store away it ends when `--drain-time` is over, and says that data is left."""
    kubelet = start(Platform(worker_metrics_port=None), _24h="1s")
    file = os.open(kubelet.path_of("app", "/data") / "file", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"x" * 100_000)
    with proxy.refusing():
        began = time.monotonic()
        # The keeper ends the mount, too: closing the file would wait for a worker.
        assert kubelet.stop() == {"s3-mount-worker": 1, "s3-mount-keeper": 0}
        assert time.monotonic() - began < 15
    with contextlib.suppress(OSError):
        os.close(file)
    assert "not everything is in S3" in kubelet.children["s3-mount-worker"].tail()
