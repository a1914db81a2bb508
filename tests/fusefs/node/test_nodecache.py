"""The cache that pods of a node share: real plugin, real workers, a real store behind a proxy."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fusefs.node.kubelet import FakeKubelet
from tests.fusefs.node.s3pod import SharingPod, digest
from tests.fusefs.survival.test_attack import stopped
from tests.proxy.exchange import Requests
from tests.proxy.proxy import Proxy
from tests.servers.buckets import Buckets
from tests.servers.s3 import Bucket, Endpoint

pytestmark = pytest.mark.mount

MIB = 1 << 20
SIZE = 12 * MIB + 12345
_names = itertools.count()


@dataclass
class Node:
    """A node with a plugin and pods: `pods` share its cache, `others` share nothing with them."""

    kubelet: FakeKubelet
    bucket: Bucket
    proxy: Proxy
    pods: list[SharingPod]
    others: list[SharingPod]

    def put(self, size: int = SIZE, directory: str = "") -> tuple[str, str]:
        """Make an object; return its name, and the digest of its content."""
        name, content = f"{directory}object-{next(_names)}", os.urandom(size)
        self.bucket.put(name, content)
        return name, hashlib.sha256(content).hexdigest()

    def read(self, name: str, *pods: SharingPod) -> tuple[set[str], Requests]:
        """Have pods read an object, all at once; return the digests and the GETs of the store."""
        with self.proxy.counting() as seen:
            programs = [pod.reading(name) for pod in pods or self.pods]
            digests = {digest(each) for each in programs}
        return digests, seen.of("GetObject")

    def kept(self) -> int:
        """Return how many bytes the pods have brought into the cache."""
        return sum(pod.count("node_cache_kept_bytes_total") for pod in self.pods)

    def passed(self) -> int:
        """Return how many bytes they fetched for themselves: a plugin that gets no CPU is away."""
        return sum(pod.count("node_cache_passed_bytes_total") for pod in self.pods)

    def until_kept(self, count: int) -> None:
        """Wait until they have brought so many: a reader has its bytes before the cache has."""
        deadline = time.monotonic() + 30
        while self.kept() < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert self.kept() == count

    def fill(self, name: str, pod: SharingPod) -> None:
        """Have one pod bring all of an object into the cache."""
        before = self.kept()
        self.read(name, pod)
        self.until_kept(before + SIZE)


@pytest.fixture(scope="module")
def node(shared_kubelet: FakeKubelet, store: Endpoint, buckets: Buckets) -> Iterator[Node]:
    """The node for the tests of this module, each of which reads objects of its own."""
    kubelet = shared_kubelet
    bucket = buckets.take()
    with Proxy(store) as proxy:
        told: list[dict[str, Any]] = [{}, {}, {}, {"namespace": "stranger"}]
        pods = [SharingPod(kubelet, bucket, proxy.endpoint, **each) for each in told]
        for pod in pods:
            kubelet.add(pod)
        with ThreadPoolExecutor(len(pods)) as pool:
            list(pool.map(lambda pod: pod.start(), pods))
        yield Node(kubelet, bucket, proxy, pods[:3], pods[3:])
        for pod in pods:
            pod.clean_up()
    buckets.give_back(bucket)


def test_pods_that_read_the_same_cost_one_download(node: Node) -> None:
    """All at the same time: each byte leaves the store once, and each pod has all of them."""
    name, content = node.put()
    before, passed = node.kept(), node.passed()
    digests, seen = node.read(name)
    assert digests == {content}
    assert seen.downloaded == SIZE + node.passed() - passed, seen
    node.until_kept(before + SIZE)


def test_nothing_is_shared_across_scopes(node: Node) -> None:
    """A pod of another namespace downloads for itself, with the same attributes and keys."""
    name, content = node.put()
    digests, seen = node.read(name, node.pods[0], *node.others)
    assert digests == {content}
    assert seen.downloaded == 2 * SIZE, seen


def test_a_small_file_comes_with_its_open(node: Node) -> None:
    """As without a shared cache: one request, which brings the checksum of the whole, too."""
    name, content = node.put(1000, "small/")
    list((node.pods[0].target() / "small").iterdir())
    digests, seen = node.read(name, node.pods[0])
    assert digests == {content}
    assert seen.downloaded == 1000


def test_a_damaged_block_is_found_and_fetched_anew(node: Node) -> None:
    """By who reads it; then the cache has it again, for the next one."""
    name, content = node.put()
    first, second, third = node.pods
    node.fill(name, first)
    (data,) = [
        path
        for path in (node.kubelet.root / "plugins/s3.mount/cache/content").glob("*.data")
        if path.stat().st_size == SIZE and spoilt(path, content)
    ]
    assert data.exists()
    before = node.kept()
    digests, seen = node.read(name, second)
    assert digests == {content}
    assert seen.downloaded == 128 << 10, seen
    node.until_kept(before + (128 << 10))
    digests, seen = node.read(name, third)
    assert (digests, seen.downloaded) == ({content}, 0)


def spoilt(path: Path, content: str) -> bool:
    """Change a byte of a file with this content; say whether it has it."""
    data = bytearray(path.read_bytes())
    if hashlib.sha256(data).hexdigest() != content:
        return False
    with path.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(bytes([data[5 * MIB] ^ 1]))
    return True


@pytest.mark.soak  # it takes the time limit
def test_a_plugin_that_is_stopped_costs_a_moment(node: Node) -> None:
    """Nobody waits for it twice; the store gives what it doesn't."""
    name, content = node.put()
    pod = node.pods[0]
    passed = pod.count("node_cache_passed_bytes_total")
    with stopped(node.kubelet.plugin):
        began = time.monotonic()
        assert pod.read(name) == content
        took = time.monotonic() - began
    assert took < 15, "one time limit of two seconds, on a busy machine"
    assert pod.count("node_cache_passed_bytes_total") - passed == SIZE


def test_a_killed_plugin_leaves_its_cache(node: Node) -> None:
    """While it is away pods read from the store; the next one has the blocks of before."""
    name, content = node.put()
    node.fill(name, node.pods[1])
    node.kubelet.kill_plugin()
    other, more = node.put()
    assert node.pods[1].read(other) == more
    node.kubelet.start_plugin()
    digests, seen = node.read(name, node.pods[2])
    assert (digests, seen.downloaded) == ({content}, 0), seen


@pytest.mark.soak  # a quarter of the size that the cluster's check has
def test_ten_pods_cost_one_download(node: Node) -> None:
    """All at the same time; the plugin stays within its memory."""
    size = 256 * MIB
    name, content = node.put(size)
    more = [SharingPod(node.kubelet, node.bucket, node.proxy.endpoint) for _ in range(7)]
    for pod in more:
        node.kubelet.add(pod)
        pod.start()
    node.pods += more
    before, passed = node.kept(), node.passed()
    digests, seen = node.read(name)
    assert digests == {content}
    node.until_kept(before + size)
    assert seen.downloaded == size + node.passed() - passed
    assert node.kubelet.plugin is not None
    status = Path(f"/proc/{node.kubelet.plugin.pid}/status").read_text()
    resident = int(status.split("VmHWM:")[1].split()[0]) << 10
    print(f"{(node.passed() - passed) / MIB:.0f} MiB passed, {resident / MIB:.0f} MiB at most")
    assert resident < 64 * MIB
