"""The holder is killed where no container ends with it: the keeper that it leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fusefs.kernel import mountcalls
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.test_holder import HeldPod
from tests.waiting import until

pytestmark = pytest.mark.mount
GONE = "the holder is gone"


@pytest.fixture
def pod(base: Path) -> Iterator[HeldPod]:
    """A pod with one mount, whose holder was just killed; `left` is its keeper."""
    pod = HeldPod(base)
    pod.start()
    left = pod.serving_keeper()
    assert pod.keeper is not None
    pod.keeper.kill()
    pod.keeper.wait(10)
    pod.wait_for_log(GONE)
    pod.left = left
    yield pod
    with suppress(ProcessLookupError):
        os.kill(left, signal.SIGKILL)
    pod.clean_up()


def ended(pid: int) -> bool:
    """Say whether a process that isn't our child has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_keeps_the_mount_for_the_next_worker(pod: HeldPod, application: Application) -> None:
    """And says once what happened."""
    file = pod.bus / "one/f"
    file.write_bytes(b"content")
    assert application.do(f"(f := open('{file}', 'rb', buffering=0)).read(1)") == "b'c'"
    pod.kill_worker()
    pod.wait_until_well()
    assert application.do("f.read()") == "b'ontent'"
    assert pod.log.read_text().count(GONE) == 1
    assert "doesn't answer" not in pod.log.read_text()


def test_it_makes_way_for_the_next_keeper(pod: HeldPod, application: Application) -> None:
    """The worker brings the mount there: applications notice nothing."""
    file = pod.bus / "one/f"
    file.write_bytes(b"content")
    assert application.do(f"(f := open('{file}', 'rb', buffering=0)).read(1)") == "b'c'"
    pod.start_keeper()
    until(lambda: ended(pod.left))
    pod.wait_for_log("took the mount back")
    assert application.do("f.read()") == "b'ontent'"
    pod.kill_worker()
    pod.wait_until_well()
    until(lambda: pod.ready("keeper"))


def test_it_ends_when_no_worker_can_come(pod: HeldPod) -> None:
    """Its directory was removed and its last worker has ended: the mount goes with it."""
    assert pod.worker is not None
    pod.worker.kill()
    pod.worker.wait(10)
    shutil.rmtree(pod.keeper_socket.parent)
    until(lambda: ended(pod.left))
    assert str(pod.bus) not in "".join(path for path, _ in mountcalls.fuse_mounts())
