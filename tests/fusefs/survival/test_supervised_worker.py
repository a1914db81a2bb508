"""The worker's container as the webhook writes it: its first process, and what probes see of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fusefs.survival.s3pod import S3Pod
from tests.servers.s3 import Bucket
from tests.waiting import until

pytestmark = pytest.mark.mount


def serving(pod: S3Pod) -> int:
    """Return the process that serves, the only child of the first one."""
    assert pod.worker is not None
    found = Path(f"/proc/{pod.worker.pid}/task/{pod.worker.pid}/children").read_text().split()
    return int(found[0]) if found else 0


@pytest.fixture
def supervised(base: Path, bucket: Bucket) -> Iterator[S3Pod]:
    """A pod with one mount, ready."""
    pod = S3Pod(base, bucket, supervise=True)
    pod.start()
    until(lambda: pod.ready("keeper") and pod.ready("worker"))
    yield pod
    pod.clean_up()


def test_five_kills_of_the_worker_are_not_seen(supervised: S3Pod) -> None:
    """It is back at once each time, where the kubelet would wait ever longer."""
    (supervised.root / "file").write_bytes(b"content")
    for _ in range(5):
        os.kill(serving(supervised), signal.SIGKILL)
        done = subprocess.run(["cat", supervised.root / "file"], capture_output=True, timeout=15)
        assert done.stdout == b"content"
    assert supervised.worker is not None
    assert supervised.worker.poll() is None
    assert supervised.stop() == (0, 0)


def test_a_lost_mount_is_never_ready_again(supervised: S3Pod) -> None:
    """Both died: whoever was bound to the mount has a dead one, and the pod says so."""
    assert supervised.keeper is not None
    supervised.keeper.kill()
    os.kill(serving(supervised), signal.SIGKILL)
    supervised.keeper.wait(10)
    until(lambda: not supervised.ready("worker"))
    supervised.start_keeper()
    until(lambda: "delete the pod" in supervised.verdict())
    assert not supervised.ready("worker")


def test_readiness_ends_with_the_worker(supervised: S3Pod) -> None:
    """A pod that is on its way out gets no new requests."""
    assert supervised.stop() == (0, 0)
    assert not supervised.ready("worker")
    assert not supervised.ready("keeper")
