"""The moments in which a mount is in nobody's hands, or in those of a kernel that can do less."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from fusefs.keeper import protocol
from fusefs.keeper.client import Taken
from fusefs.kernel import mountcalls, wire
from fusefs.run.servedmount import sends_again
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.pod import Pod
from tests.fusefs.survival.s3pod import S3Pod
from tests.servers.ports import free_ports
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount


def take(pod: Pod) -> tuple[socket.socket, int]:
    """Take the mount as a worker does; return the connection and the device."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(str(pod.keeper_socket))
    peer.settimeout(5)
    protocol.send(peer, {"op": "take", "name": "one"})
    return peer, protocol.receive(peer)[1]


def read_init(device: int) -> None:
    """Read the kernel's first request, and leave it at that."""
    request = os.read(device, 1 << 21)
    assert wire.IN_HEADER.unpack_from(request)[1] == wire.Opcode.INIT


@pytest.fixture
def keeper(make_pod: Callable[..., Pod]) -> Pod:
    """A pod of which only the keeper runs."""
    pod = make_pod()
    pod.start_keeper()
    pod.wait_for_log('"ready"')
    return pod


@pytest.mark.parametrize("remembered", [False, True])
def test_killed_before_init_was_answered(keeper: Pod, remembered: bool) -> None:
    """The kernel sends INIT once; the next worker has it sent again, agreed upon or not."""
    peer, device = take(keeper)
    read_init(device)
    if remembered:
        state = {"minor": 45, "flags": int(wire.Init.HAS_RESEND), "max_request": 1 << 20}
        protocol.send(peer, {"op": "remember", "name": "one", "state": state})
        protocol.receive(peer)
    os.close(device)
    peer.close()
    keeper.start_worker()
    keeper.wait_until_well()
    (keeper.bus / "one/f").write_text("x")
    keeper.kill_worker()
    keeper.wait_until_well()
    assert (keeper.bus / "one/f").read_text() == "x"


def test_killed_over_and_over_while_it_starts(keeper: Pod) -> None:
    """However far each of them came."""
    for turn in range(12):
        keeper.start_worker()
        assert keeper.worker is not None
        time.sleep(0.02 * turn)
        keeper.worker.kill()
        keeper.worker.wait(10)
    keeper.start_worker()
    keeper.wait_until_well()
    (keeper.bus / "one/f").write_text("x")


def test_a_kernel_that_knows_no_resend_is_asked_where_nothing_was_agreed() -> None:
    """A worker was killed before INIT was answered: what else could know?"""
    with select.epoll() as refusing:  # any descriptor whose write(2) is EINVAL
        assert sends_again(Taken("x", refusing.fileno(), "", True, None)) is False


@pytest.fixture
def old(base: Path, bucket: Bucket) -> Iterator[tuple[S3Pod, int]]:
    """A pod on a kernel that can't send again, and the port of its metrics."""
    (port,) = free_ports(1)

    class OldPod(S3Pod):
        def worker_command(self) -> list[str]:
            sockets = [str(self.keeper_socket), str(self.status_socket)]
            return [self.python, "-m", "tests.fusefs.survival.old_kernel", *sockets, str(port)]

    pod = OldPod(base, bucket)
    pod.start()
    yield pod, port
    pod.clean_up()


def metric(port: int, name: str) -> str:
    """Return the value of a metric of the mount."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith(f'{name}{{mount="m0"}}'))
    return str(line.rpartition(" ")[2])


def test_without_resend_a_dead_worker_s_mount_is_made_anew(
    old: tuple[S3Pod, int], bucket: Bucket, application: Application
) -> None:
    """The log and a metric say so; what was open fails, what was written into it is uploaded."""
    pod, port = old
    assert metric(port, "s3mount_remounted") == "0.0"
    application.do(f"(f := open('{pod.root}/f', 'wb', buffering=0)).write(b'unsent')")
    pod.kill_worker()
    pod.wait_until_well()
    assert "can't resend requests" in pod.log.read_text()
    assert metric(port, "s3mount_remounted") == "1.0"
    assert "failed OSError" in application.do("f.write(b'more')")
    paths = [path for path, _ in mountcalls.fuse_mounts()]
    assert paths.count(str(pod.root)) == 1
    assert (pod.root / "f").read_bytes() == b"unsent"
    assert pod.stop() == (0, 0)
    assert bucket.get("f") == b"unsent"


def test_with_resend_the_metric_says_that_the_mount_went_on(
    base: Path, bucket: Bucket, application: Application
) -> None:
    """Of the worker that took it over."""
    (port,) = free_ports(1)

    class WatchedPod(S3Pod):
        def worker_command(self) -> list[str]:
            return [*super().worker_command(), "--metrics-port", str(port)]

    pod = WatchedPod(base, bucket)
    try:
        pod.start()
        assert metric(port, "s3mount_resumed") == "0.0"
        pod.kill_worker()
        pod.wait_until_well()
        assert metric(port, "s3mount_resumed") == "1.0"
        assert metric(port, "s3mount_remounted") == "0.0"
    finally:
        pod.clean_up()
