"""What the plugin takes on a node with many pods."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusefs.keeper import protocol
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


def test_a_hundred_mounts_fit_into_the_limit_of_the_daemonset(kubelet: FakeKubelet) -> None:
    """Each pod costs a thread, a socket and a descriptor, and they go with the pod."""
    pods = [kubelet.pod() for _ in range(MOUNTS)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda pod: (pod.make_volumes(), pod.publish()), pods))
    taken = [take(pod) for pod in pods]
    assert kubelet.plugin is not None
    status = Path(f"/proc/{kubelet.plugin.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) << 10
    for peer, device in taken:
        peer.close()
        os.close(device)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda pod: pod.unpublish(), pods))
    tasks = len(list(Path(f"/proc/{kubelet.plugin.pid}/task").iterdir()))
    print(f"{resident / 2**20:.1f} MiB with {MOUNTS} mounts, {tasks} threads after")
    assert resident < MOST
    assert tasks < MOUNTS
