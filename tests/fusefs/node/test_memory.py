"""What the plugin takes on a node with many pods."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zlib import crc32

import pytest

from fusefs.cache.blockindex import BLOCK, Identity
from fusefs.keeper import protocol
from fusefs.mount.nodecacheclient import NodeCacheClient
from fusefs.read.nodesource import Turn
from tests.fusefs.node.kubelet import FakeKubelet, NodePod

pytestmark = pytest.mark.mount

MOUNTS = 100
MOST = 64 << 20  # resident bytes, with all mounts taken


def take(pod: NodePod) -> tuple[socket.socket, int]:
    """Take a pod's mount as its worker does; return the connection and the descriptor."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(10)
    peer.connect(str(pod.keeper_socket))
    protocol.send(peer, {"op": "take", "name": "one"})
    answer, device = protocol.receive(peer)
    assert answer["ok"] and device >= 0
    protocol.send(peer, {"op": "remember", "name": "one", "state": {"major": 7, "minor": 45}})
    assert protocol.receive(peer)[0]["ok"]
    return peer, device


def ask(pod: NodePod) -> NodeCacheClient:
    """Put a block into the node's cache, as a worker does; return the open connection."""
    client = NodeCacheClient(pod.keeper_socket.with_name("cache-one.sock"), pod.uid)
    version = Identity("key", pod.uid, 1 << 30)
    assert client.find(version, 0, 8, doubt=False) == Turn(8)
    client.keep(version, 0, [crc32(bytes(BLOCK))] * 8, memoryview(bytes(8 * BLOCK)))
    return client


@pytest.mark.parametrize("cache", [None, "in-common"], ids=["alone", "sharing"])
def test_a_hundred_mounts_fit_into_the_limit_of_the_daemonset(
    kubelet: FakeKubelet, cache: str | None
) -> None:
    """Each pod costs a thread, a socket and a descriptor, and they go with the pod.

    Where they share a cache each costs another one of each.
    """
    pods = [kubelet.pod() for _ in range(MOUNTS)]
    for pod in pods:
        pod.cache = cache
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda pod: (pod.make_volumes(), pod.publish()), pods))
    taken = [take(pod) for pod in pods]
    asking = [ask(pod) for pod in pods if pod.cache]
    assert kubelet.plugin is not None
    status = Path(f"/proc/{kubelet.plugin.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) << 10
    for client in asking:
        client.close()
    for peer, device in taken:
        peer.close()
        os.close(device)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda pod: pod.unpublish(), pods))
    tasks = len(list(Path(f"/proc/{kubelet.plugin.pid}/task").iterdir()))
    print(f"{resident / 2**20:.1f} MiB with {MOUNTS} mounts, {tasks} threads after")
    assert resident < MOST
    assert tasks < MOUNTS
