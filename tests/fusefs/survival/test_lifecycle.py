"""Start, drain, probes and end of a worker; many mounts; the rights it runs with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs.kernel import mountcalls
from fusefs.run import status
from tests.fusefs.survival.nobody import nobody
from tests.fusefs.survival.pod import Pod

pytestmark = pytest.mark.mount


def exit_code(process: "subprocess.Popen[bytes] | None", timeout: float = 15.0) -> int:
    assert process is not None
    return process.wait(timeout)


def test_sigterm_in_order_leaves_nothing(pod: Pod) -> None:
    """Worker and keeper exit 0 and the mount is gone from the mount table."""
    (pod.bus / "one/f").write_text("x")
    assert pod.stop() == (0, 0)
    assert str(pod.bus) not in "".join(path for path, _ in mountcalls.fuse_mounts())


def test_a_drain_refuses_writes_tells_what_is_left_and_ends(make_pod: Callable[..., Pod]) -> None:
    """Files and bytes in the log; reads go on; exit 0 when everything is uploaded."""
    pod = make_pod(dirty=30)
    pod.start()
    (pod.bus / "one/f").write_text("x")
    assert pod.worker is not None
    pod.worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert "draining" in pod.verdict()
    assert subprocess.run(["cat", pod.bus / "one/f"], check=True, timeout=5).returncode == 0
    write = subprocess.run(["touch", pod.bus / "one/g"], check=False, timeout=5)
    assert write.returncode != 0
    assert exit_code(pod.worker) == 0
    assert "uploading before the end" in pod.log.read_text()


def test_a_second_sigterm_ends_a_drain(make_pod: Callable[..., Pod]) -> None:
    """At once, with a code that says that the journal is needed."""
    pod = make_pod(dirty=10_000)
    pod.start()
    assert pod.worker is not None
    pod.worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    pod.worker.send_signal(signal.SIGTERM)
    assert exit_code(pod.worker, 2) == 1
    assert "the journal keeps it" in pod.log.read_text()


def test_a_drain_ends_with_the_grace_period(make_pod: Callable[..., Pod]) -> None:
    """S3 is unreachable: exit 1 before the kubelet kills."""
    pod = make_pod(dirty=10_000)
    pod.environment["GRACE"] = "3"
    pod.start()
    assert pod.worker is not None
    pod.worker.send_signal(signal.SIGTERM)
    assert exit_code(pod.worker, 5) == 1


def test_a_mount_that_is_aborted_ends_the_worker(pod: Pod) -> None:
    """The next one has it mounted anew."""
    pod.abort()
    assert exit_code(pod.worker) == 1
    pod.start_worker()
    pod.wait_until_well()
    (pod.bus / "one/f").write_text("new")


def test_a_mount_that_is_unmounted_is_not_mounted_again(make_pod: Callable[..., Pod]) -> None:
    """The worker serves its others, says so, and uploads what is left; so does the next one."""
    pod = make_pod(names=("one", "two"), dirty=3)
    pod.start()
    mountcalls.unmount(str(pod.bus / "one"))
    left = "one: unmounted from outside; 3 files (3145728 bytes) are still to be sent"
    for _ in range(2):
        pod.wait_for_verdict(left)
        (pod.bus / "two/f").write_text("served")
        pod.kill_worker()
    pod.wait_for_verdict(left)
    assert str(pod.bus / "one") not in {path for path, _ in mountcalls.fuse_mounts()}
    assert pod.stop() == (0, 0)


def test_a_mount_that_cannot_start_is_told_in_one_line(make_pod: Callable[..., Pod]) -> None:
    """Exit 2; the keeper stays and so do the other processes of the pod."""
    pod = make_pod(refuses="bucket x does not exist")
    pod.start_keeper()
    pod.start_worker()
    assert exit_code(pod.worker) == 2
    assert pod.log.read_text().count("bucket x does not exist") == 1
    assert pod.keeper is not None and pod.keeper.poll() is None


def test_a_probe_says_what_is_wrong(make_pod: Callable[..., Pod], base: Path) -> None:
    """By name, by mountpoint, or of all; and when nobody answers."""
    trouble = base / "trouble"
    pod = make_pod(names=("one", "two"), trouble=str(trouble))
    assert "no worker answers" in pod.verdict()
    pod.start()
    socket = str(pod.status_socket)
    assert status.verdict("one", socket) == status.verdict(str(pod.bus / "two"), socket) == ""
    assert status.verdict("three", socket) == "three: no such mount here"
    trouble.write_text("S3 is unreachable for 99 s")
    assert status.verdict("two", socket) == "two: S3 is unreachable for 99 s"


def test_a_probe_takes_less_than_100_ms(pod: Pod) -> None:
    """With Python's start, of a processor's time: the machine of a test may be busy."""
    socket = str(pod.status_socket)
    script = (
        f"from fusefs.run.status import verdict; raise SystemExit(bool(verdict(None, {socket!r})))"
    )
    times = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-c", script], check=True, timeout=5)
        after = os.times()
        used = after.children_user + after.children_system
        times.append(used - before.children_user - before.children_system)
    assert min(times) < 0.1


def test_an_unprivileged_worker_survives_kills(make_pod: Callable[..., Pod], base: Path) -> None:
    """uid 65534, no capabilities, no_new_privs; reads, writes, passthrough, resume."""
    pod = make_pod(**nobody(base))
    pod.environment |= {"WHOLE": "1"}
    pod.start()
    rights = Path(f"/proc/{pod.worker.pid if pod.worker else 0}/status").read_text()
    assert "CapEff:\t0000000000000000" in rights and "NoNewPrivs:\t1" in rights
    (pod.bus / "one").chmod(0o777)
    for turn in range(3):
        (pod.bus / f"one/{turn}").write_bytes(os.urandom(1 << 20))
        content = (pod.bus / f"one/{turn}").read_bytes()
        pod.kill_worker()
        assert (pod.bus / f"one/{turn}").read_bytes() == content
    assert "refused" not in pod.log.read_text()
    assert pod.stop() == (0, 0)


def test_a_bind_in_another_mount_namespace_survives_kills(
    make_pod: Callable[..., Pod], base: Path
) -> None:
    """As a pod has it: keeper's mounts propagate out, the application has a private bind."""
    shared = base / "shared"
    shared.mkdir()
    pod = make_pod()
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    subprocess.run(["mount", "--make-rshared", shared], check=True)
    pod.bus.mkdir(parents=True)
    subprocess.run(["mount", "--bind", shared, pod.bus], check=True)
    subprocess.run(["mount", "--make-rshared", pod.bus], check=True)
    try:
        in_pod_namespace(pod, base)
    finally:
        pod.clean_up()
        for path in (pod.bus, shared):
            subprocess.run(["umount", "-l", path], check=True)


def in_pod_namespace(pod: Pod, base: Path) -> None:
    """Mount in the keeper's namespace, use it from the application's, kill meanwhile."""
    pod.start_keeper("unshare", "--mount", "--propagation", "unchanged")
    pod.start_worker()
    pod.wait_until_well()
    (pod.bus / "one/f").write_text("seen outside")
    target = base / "app"
    target.mkdir()
    script = f"mount --bind {pod.bus}/one {target} && until [ -e {target}/stop ]; do cat {target}/f"
    application = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", f"{script}; done"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(2):
        time.sleep(0.3)
        pod.kill_worker()
        pod.wait_until_well()
        pod.kill_keeper()
        pod.wait_for_log("took the mount back")
    (base / "data/one/stop").touch()
    output, _ = application.communicate(timeout=30)
    assert application.returncode == 0 and set(output.split("seen outside")) == {""}
