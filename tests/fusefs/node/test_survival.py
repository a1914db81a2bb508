"""What applications notice when the plugin, the worker or both die, and how pods end then."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from fusefs.keeper.keptmount import ABANDONED_SECONDS
from fusefs.kernel import mountcalls
from fusefs.node.nodemounts import NodeMounts
from fusefs.node.podkeeper import PodKeeper
from fusefs.node.publication import target_of
from tests.fusefs.node.kubelet import FakeKubelet, NodePod
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.test_attack import stopped
from tests.sources import REPOSITORY

pytestmark = pytest.mark.mount

MIB = 1 << 20
TAKEN = "took the mount back"


class Load:
    """An application that appends lines, each with fsync, until it is told to stop."""

    def __init__(self, pod: NodePod) -> None:
        self._log = pod.root() / "load/log"
        self._stop = pod.kubelet.root / f"stop-{pod.uid}"
        place = pod.target() / "load"
        words = ["append", str(place), "0", str(self._stop)]
        subprocess.run(["mkdir", place], check=True, timeout=20)
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.fusefs.survival.loads", *words],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> None:
        """Stop it; it must not have met an error, and each line is there once."""
        self._stop.touch()
        output, _ = self._program.communicate(timeout=60)
        assert self._program.returncode == 0, output
        lines = json.loads(output)["lines"]
        assert self._log.read_text().split() == [str(number) for number in range(lines)]


@pytest.fixture
def pod(kubelet: FakeKubelet) -> NodePod:
    """A pod whose worker serves."""
    pod = kubelet.pod()
    pod.start()
    return pod


def test_the_plugin_is_killed_and_upgraded_under_load(kubelet: FakeKubelet, pod: NodePod) -> None:
    """No application error; the next plugin has the mounts from their workers, and their end."""
    load = Load(pod)
    kubelet.kill_plugin()
    kubelet.start_plugin()
    kubelet.wait_for_log(TAKEN, 1)
    assert kubelet.stop_plugin() == 0, "an upgrade of the DaemonSet"
    assert pod.mounted(), "it doesn't unmount"
    kubelet.start_plugin()
    kubelet.wait_for_log(TAKEN, 2)
    load.stop()
    kubelet.register()
    pod.publish()
    pod.unpublish()
    assert not pod.mounted()


def test_the_worker_is_killed_under_load(pod: NodePod) -> None:
    """Its successor takes the descriptor from the plugin, and the kernel asks again."""
    load = Load(pod)
    for _ in range(2):
        pod.kill_worker()
        pod.wait_until_well()
    load.stop()


def test_the_plugin_registers_files_for_passthrough(
    kubelet: FakeKubelet, application: Application
) -> None:
    """Through the former plugin and through the next one: the kernel reads while nobody serves."""
    pod = kubelet.pod()
    pod.environment["WHOLE"] = "1"
    pod.start()
    for name in ("former", "next"):
        (pod.root() / name).write_bytes(name.encode() * MIB)
    assert application.do(f"(f := open('{pod.target()}/former', 'rb')).read(1)") == "b'f'"
    kubelet.kill_plugin()
    kubelet.start_plugin()
    kubelet.wait_for_log(TAKEN)
    assert application.do(f"(n := open('{pod.target()}/next', 'rb')).read(1)") == "b'n'"
    assert pod.worker is not None
    pod.worker.kill()
    pod.worker.wait(10)
    # Far from what was read, so that it isn't in the page cache of the mount.
    read = "__import__('os').pread({}.fileno(), 4, 3_999_996)"
    assert application.do(read.format("n")) == "b'next'"
    assert application.do(read.format("f")) == "b'form'"
    pod.start_worker()
    pod.wait_until_well()
    writing = f"(w := open('{pod.target()}/next', 'r+b', buffering=0)).write(b'y')"
    assert application.do(writing) == "1", "the next worker knows what is registered"
    assert application.do(f"open('{pod.target()}/next', 'rb').read(2)") == "b'ye'"


def test_plugin_and_worker_are_killed_one_after_the_other(
    kubelet: FakeKubelet, pod: NodePod
) -> None:
    """As long as one of them has the descriptor the application sees neither."""
    load = Load(pod)
    kubelet.kill_plugin()
    kubelet.start_plugin()
    kubelet.wait_for_log(TAKEN)
    pod.kill_worker()
    pod.wait_until_well()
    load.stop()


def test_both_die_at_once(kubelet: FakeKubelet, pod: NodePod, application: Application) -> None:
    """The connection is lost, and applications are told; the next worker gets a new mount."""
    kubelet.kill_plugin()
    assert pod.worker is not None
    pod.worker.kill()
    pod.worker.wait(10)
    assert "Transport endpoint" in application.do(f"open('{pod.target()}/file', 'w')")
    kubelet.start_plugin()
    pod.start_worker()
    pod.wait_until_well()
    assert application.do(f"open('{pod.target()}/file', 'w').write('new')") == "3"


def test_a_pod_ends_while_plugin_and_worker_are_dead(
    kubelet: FakeKubelet, pod: NodePod, application: Application
) -> None:
    """Its users have errors at once, and the next plugin removes what is left."""
    user = application.do(f"(file := open('{pod.target()}/file', 'w')).name")
    kubelet.kill_plugin()
    assert pod.worker is not None
    pod.worker.kill()
    pod.worker.wait(10)
    assert "Transport endpoint" in application.do("file.write('x') and file.flush()"), user
    kubelet.start_plugin()
    pod.unpublish()
    assert not pod.mounted()
    assert not os.path.lexists(pod.target())


@pytest.mark.parametrize("how", ["dead", "stopped"])
def test_a_pod_ends_whatever_became_of_its_worker(pod: NodePod, how: str) -> None:
    """Nothing waits for who doesn't answer."""
    assert pod.worker is not None
    if how == "dead":
        pod.worker.kill()
        pod.worker.wait(10)
        pod.unpublish()
    else:
        with stopped(pod.worker):
            pod.unpublish()
    assert not pod.mounted()
    assert not os.path.lexists(pod.target())


def test_what_pods_left_is_cleaned_at_the_start(kubelet: FakeKubelet, pod: NodePod) -> None:
    """A mount whose volume the kubelet no longer knows belongs to a pod that is gone."""
    other = kubelet.pod()
    other.start()
    kubelet.kill_plugin()
    (other.target().parent / "vol_data.json").unlink()
    kubelet.start_plugin()
    assert not other.mounted()
    assert not os.path.lexists(other.target())
    assert pod.mounted()
    kubelet.wait_for_log(TAKEN)


def test_links_of_a_worker_lead_the_plugin_nowhere(kubelet: FakeKubelet, pod: NodePod) -> None:
    """The socket is made in the volume itself, and nobody else's files change their owner."""
    victim = kubelet.root / "victim"
    victim.write_text("secret")
    victim.chmod(0o640)
    before = victim.stat()
    kubelet.kill_plugin()
    socket = pod.volume / "keeper.sock"
    socket.unlink()
    socket.symlink_to(victim)
    kubelet.start_plugin()
    kubelet.wait_for_log(TAKEN)
    assert socket.is_socket() and not socket.is_symlink()
    after = victim.stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert victim.read_text() == "secret"


def test_a_blocked_socket_stops_that_pod_only(kubelet: FakeKubelet, pod: NodePod) -> None:
    """A directory in its place is an error in the log; other pods are served, this one can end."""
    other = kubelet.pod()
    other.start()
    kubelet.kill_plugin()
    (pod.volume / "keeper.sock").unlink()
    (pod.volume / "keeper.sock").mkdir()
    kubelet.start_plugin()
    kubelet.wait_for_log(TAKEN)
    kubelet.wait_for_log("socket can't be made")
    pod.unpublish()
    assert not pod.mounted()
    assert other.mounted()


def test_a_descriptor_that_hangs_stops_that_pod_only(
    kubelet: FakeKubelet, pod: NodePod, application: Application
) -> None:
    """Who sends the plugin a file of a filesystem that doesn't answer: others are served."""
    other = kubelet.pod()
    application.do(f"(file := open('{pod.target()}/file', 'w')).name")
    application.do("(socket := __import__('socket')) and 1")
    application.do("(peer := socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) and 1")
    with stopped(pod.worker):
        application.do(f"peer.connect('{pod.keeper_socket}')")
        assert application.do("socket.send_fds(peer, [b'{}'], [file.fileno()])") == "2"
        kubelet.wait_for_log("dropped a connection")
        other.start()
        pod.unpublish()
        kubelet.wait_for_log("a pod's keeper hangs")
        assert not pod.mounted()
        other.unpublish()


def test_a_keeper_that_hangs_ends_once_it_can(tmp_path: Path) -> None:
    """Its pod has ended meanwhile; who waits for it is told."""
    mounts, hangs = NodeMounts(str(tmp_path), 0), threading.Event()
    path = tmp_path / "uid/volumes/kubernetes.io~csi/s3-mount-bucket-one/mount"
    path.mkdir(parents=True)
    target = target_of(str(path), str(tmp_path))
    assert target is not None
    with mounts._using("uid") as keeper:
        keeper._jobs.append((lambda: hangs.wait(30), Future()))
        mounts.unpublish(target)
        assert mounts._pods == {}
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(keeper.publish, "two", str(tmp_path / "two"), read_only=False)
            time.sleep(0.1)
            hangs.set()
            with pytest.raises(OSError):
                late.result(5)
        keeper._thread.join(5)
        assert not keeper._thread.is_alive()
    assert not path.exists()


def test_only_the_workers_user_gets_the_mount(make_kubelet: Callable[..., FakeKubelet]) -> None:
    """The kernel tells who connects: another user of the pod is hung up on."""
    kubelet = make_kubelet(worker_uid=65534)
    kubelet.start_plugin()
    stranger = ["setpriv", "--reuid", "65533", "--clear-groups", "--inh-caps=-all"]
    pod = kubelet.pod(run_as=stranger)
    pod.make_volumes()
    pod.publish()
    (pod.volume / "keeper.sock").chmod(0o666)  # whatever the file allows
    pod.start_worker()
    kubelet.wait_for_log("refused a connection")
    assert pod.verdict()


def test_a_mount_that_no_worker_takes_back_is_given_up(tmp_path: Path) -> None:
    """Requests that a dead worker has read can't be killed: without this no pod could end."""
    now = 1000.0
    keeper = PodKeeper("uid", 0, clock=lambda: now)
    mountpoint = tmp_path / "mount"
    keeper.publish("one", str(mountpoint), read_only=False)
    held = keeper._mounts["one"]
    held.taken = True  # by a worker that is dead by now
    keeper._do(lambda: None)
    assert held.device >= 0
    now += ABANDONED_SECONDS + 1
    keeper._do(lambda: None)
    deadline = time.monotonic() + 5
    while held.device >= 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    keeper.remove("one")
    keeper.close()
    assert str(mountpoint) not in {path for path, _ in mountcalls.fuse_mounts()}
