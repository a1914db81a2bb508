"""Many mounts, many threads: all are served, and nothing stays behind of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fusefs.kernel.readers import REST_SECONDS
from tests.fusefs.survival.application import Application
from tests.fusefs.survival.nobody import nobody
from tests.fusefs.survival.s3pod import S3Pod
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount

MOUNTS = 24
THREADS = 64
CONNECTIONS = 64  # what the settings allow, and a few more for keeper, probes and status
# Each thread has names of its own; one wrong answer ends the program with its traceback.
CROWD = """
import os, sys, concurrent.futures
root = sys.argv[1]

def work(number):
    name, other = f"{root}/f{number}", f"{root}/g{number}"
    data = b"%d " % number * 500
    with open(name, "wb") as file:
        file.write(data)
    os.rename(name, other)
    with open(other, "rb") as file:
        assert file.read() == data
    assert f"g{number}" in os.listdir(root)
    os.unlink(other)

with concurrent.futures.ThreadPoolExecutor(int(sys.argv[2])) as pool:
    list(pool.map(work, range(int(sys.argv[2]))))
"""


@pytest.fixture
def make(base: Path) -> Iterator[Callable[..., S3Pod]]:
    """Start a pod with a mount of each bucket."""
    made: list[S3Pod] = []

    def start(*buckets: Bucket) -> S3Pod:
        pod = S3Pod(base, *buckets, **nobody(base))
        made.append(pod)
        pod.start_keeper()
        pod.start_worker()
        pod.wait_until_well(60)
        return pod

    yield start
    for pod in made:
        pod.clean_up()


def crowd(pod: S3Pod) -> None:
    """Have many threads of one process use the mount."""
    command = [sys.executable, "-c", CROWD, str(pod.root), str(THREADS)]
    subprocess.run(command, check=True, timeout=90)


def test_24_mounts_of_one_pod(
    make: Callable[..., S3Pod], bucket: Bucket, application: Application
) -> None:
    """Each its own prefix; a kill of the worker brings all of them back with their open files."""
    pod = make(*(bucket.under(f"p{number}/") for number in range(MOUNTS)))
    application.do(f"(files := [open(f'{pod.bus}/m{{n}}/f', 'wb', 0) for n in range({MOUNTS})])")
    application.do("[file.write(b'%d ' % n) for n, file in enumerate(files)]")
    pod.kill_worker()
    application.do("[file.write(b'%d' % n) for n, file in enumerate(files)]")
    assert "failed" not in application.do("[file.close() for file in files]")
    assert pod.stop() == (0, 0), pod.log.read_text()
    expected = [b"%d %d" % (number, number) for number in range(MOUNTS)]
    assert [bucket.get(f"p{number}/f") for number in range(MOUNTS)] == expected


def test_64_threads_see_what_each_of_them_did(make: Callable[..., S3Pod], bucket: Bucket) -> None:
    """Also while the worker is killed."""
    pod = make(bucket)
    command = [sys.executable, "-c", CROWD, str(pod.root), str(THREADS)]
    program = subprocess.Popen(command)
    for _ in range(2):
        time.sleep(0.5)
        pod.kill_worker()
        pod.wait_until_well()
    assert program.wait(90) == 0
    assert pod.stop() == (0, 0)
    assert bucket.keys() == []


def descriptors(pid: int) -> list[str]:
    """Return what a process has open."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    return found


def test_threads_and_descriptors_go_back_to_what_they_were(
    make: Callable[..., S3Pod], bucket: Bucket
) -> None:
    """Pools fill once, of the connections to the store up to their limit; nothing else grows.

    Readers that rest end after some seconds.
    """
    pod = make(bucket)

    def counts() -> tuple[int, ...]:
        time.sleep(0.5)  # until a probe has been answered
        assert pod.keeper is not None and pod.worker is not None
        keeper, worker = descriptors(pod.keeper.pid), descriptors(pod.worker.pid)
        sockets = sum(each.startswith("socket:") for each in worker)
        assert sockets <= CONNECTIONS
        threads = len(list(Path(f"/proc/{pod.worker.pid}/task").iterdir()))
        return len(keeper), len(worker) - sockets, threads

    crowd(pod)
    before = counts()
    for _ in range(2):
        crowd(pod)
    pod.kill_keeper()
    pod.wait_for_log("took the mount back")
    deadline = time.monotonic() + 3 * REST_SECONDS
    after = counts()
    while any(now > then for now, then in zip(after, before, strict=True)):
        assert time.monotonic() < deadline, (before, after)
        after = counts()
