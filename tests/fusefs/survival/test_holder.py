"""The first process of the keeper's container: the keeper dies, and what it held is held."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.kernel import mountcalls
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.pod import Pod
from tests.waiting import until

pytestmark = pytest.mark.mount


class HeldPod(Pod):
    """A pod whose keeper has a holder; `left`: a keeper that outlived it."""

    left = 0

    def keeper_command(self) -> list[str]:
        told = ["--hold", "--socket", str(self.keeper_socket), "--worker-uid", str(self._uid)]
        return [sys.executable, "-m", "fusefs", "keeper", *told]

    def serving_keeper(self) -> int:
        """Return the process that answers, the only child of the first one; 0 for none."""
        assert self.keeper is not None
        path = Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children")
        return int((path.read_text().split() or ["0"])[0])


@pytest.fixture
def pod(base: Path) -> Iterator[HeldPod]:
    """A pod with one mount, up and serving."""
    made = HeldPod(base)
    made.start()
    yield made
    made.clean_up()


def kill_keeper_proper(pod: HeldPod) -> None:
    """Kill it, and wait for the next one."""
    before = pod.serving_keeper()
    os.kill(before, signal.SIGKILL)
    until(lambda: pod.serving_keeper() not in (0, before))


def test_a_keeper_that_dies_while_no_worker_lives_loses_nothing(
    pod: HeldPod, application: Application
) -> None:
    """Without a holder nobody would have the descriptor: the mount goes on, not a new one."""
    file = pod.bus / "one/f"
    file.write_bytes(b"content")
    assert application.do(f"(f := open('{file}', 'rb', buffering=0)).read(1)") == "b'c'"
    assert pod.worker is not None
    pod.worker.kill()
    pod.worker.wait(10)
    kill_keeper_proper(pod)
    pod.start_worker()
    pod.wait_until_well()
    assert application.do("f.read()") == "b'ontent'"


def test_five_deaths_of_the_keeper_are_not_seen(pod: HeldPod) -> None:
    """The container goes on, and so do worker and mount."""
    for number in range(5):
        kill_keeper_proper(pod)
        (pod.bus / "one/f").write_text(str(number))
    assert pod.keeper is not None
    assert pod.keeper.poll() is None
    assert pod.stop() == (0, 0)
    assert str(pod.bus) not in "".join(path for path, _ in mountcalls.fuse_mounts())


def test_the_holder_unmounts_while_the_keeper_is_dead(pod: HeldPod) -> None:
    """SIGTERM in the very moment in which there is no keeper proper."""
    assert pod.keeper is not None
    os.kill(pod.serving_keeper(), signal.SIGKILL)
    pod.keeper.send_signal(signal.SIGTERM)
    assert pod.keeper.wait(10) == 0
    assert str(pod.bus) not in "".join(path for path, _ in mountcalls.fuse_mounts())


def test_a_keeper_that_cannot_work_ends_the_container(base: Path) -> None:
    """Exit code 2 and its reason, instead of starts without end."""
    (base / "bus").write_text("in the way")
    pod = HeldPod(base)
    pod.start_keeper()
    assert pod.keeper is not None
    assert pod.keeper.wait(15) == 2
    assert '"critical"' in pod.log.read_text()
