"""SIGTERM to a pod's worker, with the store behind it: what was written is there when it has ended.

The worker has no rights, as in a pod.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs.kernel import mountcalls
from tests.fusefs.survival.nobody import nobody
from tests.fusefs.survival.s3pod import S3Pod
from tests.proxy.faults import Stall
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount

MIB = 1 << 20
FILES = 40
# Writes without closing, appends with fsync, and renames a directory; ends at the first refusal.
WORK = """
import os, sys, threading
root = sys.argv[1]
held = [os.open(f"{root}/held{n}", os.O_CREAT | os.O_WRONLY) for n in range(5)]
for n, file in enumerate(held):
    os.pwrite(file, b"%d" % n * 100_000, 0)
    os.pwrite(file, b"end", 7 << 20)

def append():
    log = os.open(f"{root}/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    number = 0
    while True:
        try:
            os.write(log, b"%d\\n" % number)
            os.fsync(log)
        except OSError:
            return print(number, flush=True)
        number += 1

def rename():
    number = 0
    while True:
        try:
            os.rename(f"{root}/d{number}", f"{root}/d{number + 1}")
        except OSError:
            return
        number += 1

print("begun", flush=True)
threads = [threading.Thread(target=each) for each in (append, rename)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stdin.read()
"""


Make = Callable[..., S3Pod]
AtWork = Callable[[S3Pod], "subprocess.Popen[str]"]


@pytest.fixture
def at_work() -> Iterator[AtWork]:
    """Start a program that works in a mount until it is refused, and holds what it has open."""
    started: list[subprocess.Popen[str]] = []

    def start(pod: S3Pod) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORK, str(pod.root)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload]
        assert started[-1].stdout.readline() == "begun\n"
        return started[-1]

    yield start
    for program in started:
        program.kill()
        program.communicate(timeout=10)


@pytest.fixture
def make(base: Path, at_work: AtWork) -> Iterator[Make]:
    """Start a pod on a bucket; it ends before the programs, which may be waiting for it."""
    made: list[S3Pod] = []

    def start(bucket: Bucket, **told: object) -> S3Pod:
        pod = S3Pod(base, bucket, **nobody(base), **told)  # type: ignore[arg-type] # as they are
        made.append(pod)
        pod.start()
        return pod

    yield start
    for pod in made:
        pod.clean_up()


def terminate(pod: S3Pod, seconds: float) -> int:
    """Send SIGTERM to the worker; return how it ended, within this time."""
    assert pod.worker is not None
    pod.worker.send_signal(signal.SIGTERM)
    return pod.worker.wait(seconds)


def hears(pid: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


def held(number: int) -> bytes:
    """Return what the program has written into a file that it has not closed."""
    return (b"%d" % number * 100_000).ljust(7 * MIB, b"\0") + b"end"


def test_under_load_everything_is_uploaded(make: Make, bucket: Bucket, at_work: AtWork) -> None:
    """Exit 0, nothing mounted; a rename that was under way is done, and not by half."""
    bucket.put_many([f"d0/{number}" for number in range(FILES)], b"x")
    pod = make(bucket)
    program = at_work(pod)
    time.sleep(0.6)
    assert pod.stop() == (0, 0), pod.log.read_text()
    assert str(pod.bus) not in "".join(path for path, _ in mountcalls.fuse_mounts())
    assert program.stdout is not None
    acknowledged = int(program.stdout.readline())
    lines = bucket.get("log").split()
    assert lines == [b"%d" % number for number in range(len(lines))]
    assert len(lines) >= acknowledged
    assert [bucket.get(f"held{number}") == held(number) for number in range(5)] == [True] * 5
    directories = {key.partition("/")[0] for key in bucket.keys("d")}
    assert len(directories) == 1 and len(bucket.keys("d")) == FILES
    assert not list((pod.cache() / "staged").iterdir())


def test_a_rename_that_is_under_way_is_finished(
    make: Make, bucket: Bucket, proxy: Proxy, at_work: AtWork
) -> None:
    """Ended by half, its directory would have two names, in a pod for good."""
    bucket.put_many([f"old/{number}" for number in range(FILES)], b"x")
    pod = make(bucket, endpoint=proxy.endpoint)
    proxy.inject(Stall(0.5), lambda seen: seen.operation == "CopyObject", times=None)
    move = subprocess.Popen(["mv", "-T", pod.root / "old", pod.root / "new"])
    time.sleep(0.4)
    assert pod.stop() == (0, 0)
    assert move.wait(10) == 0
    assert bucket.keys("old/") == [] and len(bucket.keys("new/")) == FILES


def test_without_a_store_the_next_start_uploads(
    make: Make,
    bucket: Bucket,
    proxy: Proxy,
    at_work: AtWork,
) -> None:
    """Exit 1 within the time for it; the journal keeps everything."""
    pod = make(bucket, endpoint=proxy.endpoint, drain_time=3)
    at_work(pod)
    with proxy.refusing():
        assert terminate(pod, 7) == 1
    assert "not everything is in S3" in pod.log.read_text()
    pod.drain_time = 25
    pod.start_worker()
    pod.wait_until_well()
    assert pod.stop() == (0, 0)
    assert [bucket.get(f"held{number}") == held(number) for number in range(5)] == [True] * 5


def test_a_second_signal_stops_it_now(
    make: Make,
    bucket: Bucket,
    proxy: Proxy,
    at_work: AtWork,
) -> None:
    """Exit 1 at once, long before the time is over; the journal keeps everything."""
    pod = make(bucket, endpoint=proxy.endpoint)
    at_work(pod)
    with proxy.refusing():
        with pytest.raises(subprocess.TimeoutExpired):
            terminate(pod, 1)
        assert terminate(pod, 2) == 1
    assert len(list((pod.cache() / "staged").glob("*.log"))) >= 5


def test_while_it_waits_for_its_keeper(make: Make, bucket: Bucket) -> None:
    """It ends at once."""
    pod = make(bucket)
    assert pod.stop() == (0, 0)
    pod.start_worker()
    assert pod.worker is not None
    while not hears(pod.worker.pid, signal.SIGTERM):
        time.sleep(0.02)
    assert terminate(pod, 5) == 1


def test_what_hangs_does_not_hold_it_up(make: Make, bucket: Bucket, proxy: Proxy) -> None:
    """A read that waits for the store changes nothing: exit 0 in seconds."""
    bucket.put("f", b"x")
    pod = make(bucket, endpoint=proxy.endpoint)
    proxy.inject(Stall(60), lambda seen: seen.operation == "GetObject", times=None)
    reader = subprocess.Popen(["cat", pod.root / "f"], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    assert terminate(pod, 5) == 0
    pod.clean_up()
    assert reader.wait(10) != 0
