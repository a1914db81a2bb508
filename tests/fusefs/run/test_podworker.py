"""The first process of the worker's container: what it starts again, and what ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs.run.watchdog import Watchdog
from tests.waiting import until

# Runs a shell script in place of the worker; $HEARTBEAT is the descriptor of the pulse.
MAIN = """
import logging, os, sys
from fusefs import logs
from fusefs.run import podworker, restart
logs.set_up()
podworker.SILENT_AFTER = 0.4
podworker.LOOK_SECONDS = 0.05
restart.FIRST_PAUSE = 0.01
worker = podworker.PodWorker(["sh", "-c", sys.argv[1]], os.environ, os.getcwd())
sys.exit(worker.run())
"""
BEATING = "while :; do echo >&$S3MOUNT_HEARTBEAT; sleep 0.1; done"
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start one whose worker is a shell script, in `tmp_path`."""
    started = []
    (tmp_path / "message").touch()
    here = str(Path(__file__).parents[3])
    told = {"S3MOUNT_TERMINATION_LOG": str(tmp_path / "message"), "PYTHONPATH": here}

    def begin(script: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("w") as log:
            command = [sys.executable, "-c", MAIN, script]
            started.append(
                subprocess.Popen(command, cwd=tmp_path, env=os.environ | told, stderr=log)
            )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait(10)


def starts(directory: Path) -> list[int]:
    path = directory / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_a_killed_worker_is_started_again(start: Start, tmp_path: Path) -> None:
    """The container goes on, whatever killed the process in it."""
    process = start(f"echo $$ >> starts; {BEATING}")
    for number in (1, 2, 3):
        until(lambda n=number: len(starts(tmp_path)) == n)
        os.kill(starts(tmp_path)[-1], signal.SIGKILL)
    until(lambda: len(starts(tmp_path)) == 4)
    assert process.poll() is None


def test_what_cannot_work_ends_the_container_with_its_code(start: Start) -> None:
    """Exit code 2 has said why: kubectl shows the back-off."""
    assert start("exit 2").wait(15) == 2


def test_a_crash_loop_ends_the_container_with_the_reason(start: Start, tmp_path: Path) -> None:
    """`kubectl describe` shows the termination message."""
    assert start("echo $$ >> starts; exit 7").wait(20) == 1
    assert len(starts(tmp_path)) == 6
    message = (tmp_path / "message").read_text()
    assert message == "the worker ended 6 times in 60 s, last with exit code 7"


def test_a_worker_that_died_is_not_ready(start: Start, tmp_path: Path) -> None:
    """Neither after a crash loop nor while the next one starts does its file stay."""
    seen = "test ! -e worker.ready || echo seen >> stale"
    assert start(f"{seen}; touch worker.ready; exit 7").wait(20) == 1
    assert not (tmp_path / "stale").exists()
    assert not (tmp_path / "worker.ready").exists()


def test_the_signal_to_end_is_passed_on(start: Start, tmp_path: Path) -> None:
    """Its exit code is the worker's, which may take its time to upload."""
    process = start(f"trap 'sleep 0.3; exit 1' TERM; echo $$ >> starts; {BEATING}")
    until(lambda: starts(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 1
    assert len(starts(tmp_path)) == 1


def test_a_worker_without_a_heartbeat_is_killed_and_started_again(
    start: Start, tmp_path: Path
) -> None:
    """It hangs: its successor takes the mount over."""
    start("echo $$ >> starts; exec sleep 60")
    until(lambda: len(starts(tmp_path)) >= 2)
    assert "the worker hangs" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("seen", "hangs"),
    [
        ([(400.0, 5), (800.0, 5)], True),  # a request waits and nothing happens
        ([(400.0, 5), (800.0, 6)], False),  # slow: something was answered
        ([(0.0, 5), (0.0, 5)], False),  # idle
        ([(1.0, 5), (299.0, 5)], False),  # it has not waited for long
    ],
)
def test_only_a_worker_that_does_nothing_hangs(seen: list[tuple[float, int]], hangs: bool) -> None:
    """Slow ones, idle ones and those whose store is away (retries are counted) go on."""
    now = [0.0]
    looks = iter(seen)
    watchdog = Watchdog(lambda: next(looks), after=300.0, clock=lambda: now[0])
    assert not watchdog.hangs()
    now[0] = 400.0
    assert watchdog.hangs() is hangs
