"""Keeper and worker in one process tree, as `fusefs mount --driver native` has them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs.kernel import mountcalls
from fusefs.run import status
from fusefs.run.supervisor import RestartedChild

pytestmark = pytest.mark.mount

Start = Callable[..., "subprocess.Popen[str]"]


def children(pid: int) -> dict[str, int]:
    """Return the ids of keeper and worker below the supervisor."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_text()
        found["worker" if "survival.worker" in command else "keeper"] = int(child)
    return found


@pytest.fixture
def start(base: Path) -> Iterator[Start]:
    """Start a supervisor; `serving` waits until its mount is well."""
    started: list[subprocess.Popen[str]] = []

    def run(*, serving: bool = True, **extra: object) -> "subprocess.Popen[str]":
        module = "tests.fusefs.survival.supervised"
        command = [sys.executable, "-m", module, str(base), json.dumps(extra)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        deadline = time.monotonic() + 15
        while serving and status.verdict(None, str(base / "run/worker.sock")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return started[-1]

    yield run
    for process in started:
        for child in children(process.pid).values() if process.poll() is None else ():
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()
    mountcalls.unmount_stale(str(base))


def test_ctrl_c_ends_all_in_order(start: Start, base: Path) -> None:
    """Exit 0, nothing mounted, no process left."""
    supervisor = start()
    pids = children(supervisor.pid)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(15) == 0
    assert str(base) not in "".join(path for path, _ in mountcalls.fuse_mounts())
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


@pytest.mark.parametrize("victim", ["worker", "keeper"])
def test_kills_of_either_are_not_seen(start: Start, base: Path, victim: str) -> None:
    """A reader goes on; each wait is shorter than two seconds."""
    supervisor = start()
    file = base / "bus/one/f"
    file.write_bytes(b"x" * 100_000)
    for _ in range(2):
        os.kill(children(supervisor.pid)[victim], signal.SIGKILL)
        began = time.monotonic()
        done = subprocess.run(["md5sum", file], check=True, capture_output=True, timeout=10)
        assert done.stdout.startswith(b"d5816f35")
        assert time.monotonic() - began < 2
        time.sleep(0.5)


@pytest.mark.parametrize(
    ("end", "pauses"),
    [("kill -9 $$", [0.1, 0.2, 0.4, 0.4, 0.4]), ("exit 1", [0.1, 0.2, 0.4, 0.8, 1.6])],
)
def test_what_is_killed_comes_back_soon_and_what_fails_less_and_less(
    end: str, pauses: list[float]
) -> None:
    """Callers wait for the one; the other may fail for ever, and costs a start each time."""
    now, seen = [0.0], []
    child = RestartedChild("worker", ["sh", "-c", end], {}, lambda: now[0])
    child.start()
    for _ in pauses:
        while child.ended() is None:
            time.sleep(0.001)
        before, starts = now[0], child.starts
        while child.starts == starts:
            now[0] += 0.01
            child.start()
        seen.append(now[0] - before)
    while child.ended() is None:
        time.sleep(0.001)
    assert seen == pytest.approx(pauses, abs=0.02)


def test_a_worker_that_cannot_start_ends_it(start: Start, base: Path) -> None:
    """A wrong bucket: exit 2 within seconds, one clear line, nothing mounted."""
    supervisor = start(serving=False, refuses="bucket x does not exist")
    assert supervisor.wait(10) == 2
    _, log = supervisor.communicate()
    assert log.count("bucket x does not exist") == 1
    assert str(base) not in "".join(path for path, _ in mountcalls.fuse_mounts())


def test_a_second_signal_stops_a_drain(start: Start) -> None:
    """Exit 1: the journal keeps the rest."""
    supervisor = start(dirty=10_000)
    supervisor.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    assert supervisor.poll() is None
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 1


def test_its_own_death_takes_the_others_along(start: Start, base: Path) -> None:
    """kill -9 of the supervisor: the worker drains, the keeper unmounts."""
    supervisor = start()
    pids = children(supervisor.pid)
    supervisor.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/fd/0").exists() for pid in pids.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert str(base) not in "".join(path for path, _ in mountcalls.fuse_mounts())
