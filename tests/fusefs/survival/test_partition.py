"""The tmpfs that a pod's mounts are in: where walks end, and how the worker ends what is left."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.kernel import mountcalls
from tests.fusefs.survival.pod import Pod

pytestmark = pytest.mark.mount
# A mount namespace that has the directory below the tmpfs and neither that nor what is in it, as
# the kubelet gives it to the worker: a subPath is bound by itself.
WORKER = """
mount --bind "$1" "$2" && umount -l "$1/mounts" &&
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$3" -c '
import sys
from fusefs.run.podworker import detach
detach(sys.argv[1] + "/mounts", sys.argv[2], float(sys.argv[3]))' "$2" "$4" "$5"
"""


class PartitionedPod(Pod):
    """A pod whose mounts are in a tmpfs of their own, and whose keeper has a holder."""

    def _mount(self, base: Path, name: str, extra: dict[str, object]) -> dict[str, object]:
        self.gate = self.bus / ".gate"
        return super()._mount(base, name, extra) | {"partition": str(self.gate / "mounts")}

    def keeper_command(self) -> list[str]:
        told = ["--hold", "--socket", str(self.keeper_socket), "--worker-uid", str(self._uid)]
        return [sys.executable, "-m", "fusefs", "keeper", *told]

    def detach(self, patience: float = 0.0) -> None:
        """Do what a worker does at its end, as its user and with what it sees."""
        view = self.bus.parent / "view"
        view.mkdir(exist_ok=True)
        told = [self.gate, view, sys.executable, self.keeper_socket, str(patience)]
        words = ["sh", "-c", WORKER, "sh", *told]
        subprocess.run(
            ["unshare", "--mount", "--propagation=private", *words], check=True, timeout=20
        )

    def mounted(self) -> list[str]:
        """Return what is mounted, tmpfs or ours."""
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [line.split()[1] for line in lines if str(self.bus) in line]


@pytest.fixture
def pod(base: Path) -> Iterator[PartitionedPod]:
    """A pod with two mounts, up and serving."""
    made = PartitionedPod(base, ("one", "two"))
    made.start()
    yield made
    made.clean_up()
    if mountcalls.is_mounted(str(made.gate / "mounts")):
        mountcalls.unmount(str(made.gate / "mounts"))


def walked(path: str, device: int) -> list[str]:
    """Return the directories that Go's filepath.Walk reads if another device is skipped.

    It reads a directory's names before it asks whether to skip it.
    """
    seen = os.lstat(path)
    if not stat.S_ISDIR(seen.st_mode):
        return []
    names = os.listdir(path)
    deeper = names if seen.st_dev == device else []
    return [path, *(each for name in deeper for each in walked(f"{path}/{name}", device))]


def test_a_walk_of_the_volume_reads_no_bucket(pod: PartitionedPod) -> None:
    """As the kubelet's, each minute, for its volume statistics."""
    read = walked(str(pod.bus), pod.bus.stat().st_dev)
    assert read[0] == str(pod.bus)
    assert set(read[1:]) == {str(pod.gate), str(pod.gate / "mounts")}


def test_the_end_of_the_keeper_leaves_nothing_mounted(pod: PartitionedPod) -> None:
    """Neither mounts nor what they were in; the volume can be removed."""
    assert len(pod.mounted()) == 3
    assert pod.stop() == (0, 0)
    assert pod.mounted() == []


def test_a_worker_without_a_keeper_detaches_all_mounts(pod: PartitionedPod) -> None:
    """Without any right, from a namespace of its own, also while they are in use."""
    assert pod.keeper is not None
    assert pod.worker is not None
    child = int(Path(f"/proc/{pod.keeper.pid}/task/{pod.keeper.pid}/children").read_text())
    for pid in (pod.keeper.pid, child, pod.worker.pid):
        os.kill(pid, 9)
    pod.keeper.wait(10)
    pod.worker.wait(10)
    assert len(pod.mounted()) == 3
    pod.detach()
    assert pod.mounted() == []


def test_a_worker_leaves_the_mounts_to_a_living_keeper(pod: PartitionedPod) -> None:
    """It ends them itself, or has the next worker go on with them."""
    os.chown(pod.keeper_socket, 65534, -1)  # as the keeper of a pod does, whose worker is nobody
    pod.detach()
    assert len(pod.mounted()) == 3
    (pod.bus / "one/file").write_text("x")


def test_a_worker_waits_for_a_keeper_that_starts(pod: PartitionedPod) -> None:
    """It would mount anew what the worker has detached, and miss the signal that ends it."""
    away = pod.keeper_socket.with_name("away")
    pod.keeper_socket.rename(away)
    back = threading.Timer(0.5, lambda: away.rename(pod.keeper_socket))
    os.chown(away, 65534, -1)
    back.start()
    pod.detach(patience=15)
    back.join()
    assert len(pod.mounted()) == 3


@pytest.mark.parametrize("name", [".gate/mounts", ".gate"])
def test_the_keeper_follows_no_link_of_the_worker(base: Path, name: str) -> None:
    """The worker's user may write there: a link would have the keeper mount anywhere."""
    elsewhere, link = base / "elsewhere", base / "bus" / name
    elsewhere.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    pod = PartitionedPod(base)
    pod.start_keeper()
    assert pod.keeper is not None
    assert pod.keeper.wait(15) == 2
    assert list(elsewhere.iterdir()) == []
    assert pod.mounted() == []
