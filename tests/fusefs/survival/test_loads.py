"""Kill -9 under load, with the store behind the mount: nobody sees it, and nothing is lost.

The worker is what it is in a pod: without rights. `make soak` has the long form, with 200 kills of
the worker.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fusefs.survival import loads
from tests.fusefs.survival.nobody import nobody
from tests.fusefs.survival.s3pod import S3Pod
from tests.mounts.log import complaints, parse
from tests.mounts.mount import REPOSITORY
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount

MIB = 1 << 20
# Kills, and what is worked on: bytes of a file, or a number of files.
SHORT = {
    "sequential": (3, 24 * MIB),
    "scattered": (3, 24 * MIB),
    "untar": (3, 100),
    "append": (4, 0),
    "copy": (3, 48 * MIB),
    "rename": (3, 30),
    "names": (3, 0),
    "streams": (3, 300),
}
LONG = {
    "sequential": (30, 128 * MIB),
    "scattered": (30, 128 * MIB),
    "untar": (35, 2000),
    "append": (40, 0),
    "copy": (30, 1024 * MIB),
    "rename": (35, 200),
    "names": (10, 0),
    "streams": (10, 3000),
}
WITH_KEEPER = ("append", "copy", "rename")
SOAK = (pytest.mark.soak, pytest.mark.timeout(300))
FORMS = [
    *(pytest.param(name, *form, id=name) for name, form in SHORT.items()),
    *(pytest.param(name, *form, id=f"{name}-long", marks=SOAK) for name, form in LONG.items()),
]
# What a kill may be told of in the log.
EXPECTED = ("the keeper", "former process", "mounted already", "refused", "cached blocks of")
TAKEN = "took the mount back"
WAIT = 2000  # milliseconds that a call may take that meets a kill, where nobody else works
RARELY = 10  # of so many kills one may take longer


class Application:
    """A load and its pulse, which run until they are told to stop."""

    def __init__(self, pod: S3Pod, name: str, size: int) -> None:
        self._stop = pod.bus.parent / "stop"
        self._programs = [
            self._start("pulse", pod.root, 0),
            self._start(name, pod.root / "load", size),
        ]

    def _start(self, name: str, place: Path, size: int) -> subprocess.Popen[str]:
        words = [name, str(place), str(size), str(self._stop)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fusefs.survival.loads", *words],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def running(self) -> bool:
        """Whether neither has failed."""
        return all(program.poll() is None for program in self._programs)

    def stop(self) -> tuple[loads.Did, loads.Did]:
        """Tell them to stop; return what each of them did."""
        self._stop.touch()
        pulse, load = (program.communicate(timeout=120)[0] for program in self._programs)
        assert [program.returncode for program in self._programs] == [0, 0], pulse + load
        return json.loads(pulse), json.loads(load)

    def end(self) -> None:
        """End what a failed test left."""
        for program in self._programs:
            program.kill()
            program.communicate(timeout=10)


Start = Callable[[str, int], tuple[S3Pod, Application]]


@pytest.fixture
def start(base: Path, bucket: Bucket) -> Iterator[Start]:
    """Start a pod on the bucket, and a load in it."""
    ends: list[Callable[[], None]] = []

    def started(name: str, size: int) -> tuple[S3Pod, Application]:
        bucket.put("load/")
        for key, content in loads.ALL[name].given(size).items():
            bucket.put(f"load/{key}", content)
        bucket.put("pulse", b"p")
        pod = S3Pod(base, bucket, **nobody(base))
        ends.append(pod.clean_up)
        pod.start()
        assert pod.worker is not None and has_no_rights(pod.worker.pid)
        application = Application(pod, name, size)
        ends.append(application.end)
        return pod, application

    yield started
    for end in ends:  # the pod first: without it nobody waits for an answer
        end()


def has_no_rights(pid: int) -> bool:
    """Say whether a process is an unprivileged user's without any capability."""
    status = Path(f"/proc/{pid}/status").read_text()
    wanted = ("Uid:\t65534\t65534", "CapEff:\t0000000000000000", "NoNewPrivs:\t1")
    return all(line in status for line in (*wanted, "CapBnd:\t0000000000000000"))


def nothing_is_lost(bucket: Bucket, pod: S3Pod, name: str, size: int, did: loads.Did) -> None:
    """What was written is in the bucket, and no other file; nothing waits, nothing complains."""
    expected = loads.ALL[name].left(size, did)
    keys = [key for key in bucket.keys("load/") if not key.endswith("/")]
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(bucket.digest, keys))
    found = dict(zip((key.removeprefix("load/") for key in keys), digests, strict=True))
    assert found == expected
    kinds = ("staged", "renames", "conflicts")
    assert [str(left) for kind in kinds for left in (pod.cache() / kind).glob("*")] == []
    assert complaints(parse(pod.log.read_text()), EXPECTED) == []


def brief(waits: loads.Did, kills: int) -> bool:
    """Say whether calls that met a kill were answered soon, for a machine as busy as this one."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return sum(wait > WAIT * max(1, busy) for wait in waits.values()) <= max(1, kills // RARELY)


def survive(
    start: Start, bucket: Bucket, name: str, kills: int, size: int, kill: Callable[[S3Pod], None]
) -> None:
    """Kill at random moments of a load; then see that nobody noticed and nothing was lost."""
    pod, application = start(name, size)
    for _ in range(kills):
        time.sleep(random.uniform(0.02, 0.6))
        kill(pod)
        pod.wait_until_well()
        assert application.running, application.stop()
    waits, did = application.stop()
    assert brief(waits, kills), waits
    assert pod.stop() == (0, 0), pod.log.read_text()[-2000:]
    nothing_is_lost(bucket, pod, name, size, did)


@pytest.mark.parametrize(("name", "kills", "size"), FORMS)
def test_the_worker_is_killed(
    start: Start, bucket: Bucket, name: str, kills: int, size: int
) -> None:
    """No failed call, no wrong byte, every acknowledged one in the bucket, no wait over 2 s."""
    survive(start, bucket, name, kills, size, S3Pod.kill_worker)


KEEPERS = [
    pytest.param("append", 3, 0, id="append"),
    *(pytest.param(name, 8, SHORT[name][1], id=f"{name}-long", marks=SOAK) for name in WITH_KEEPER),
]


def kill_keeper(pod: S3Pod) -> None:
    """Kill the keeper; wait until the next one has the mount."""
    turns = pod.log.read_text().count(TAKEN)
    pod.kill_keeper()
    pod.wait_for_log(TAKEN, turns + 1)


@pytest.mark.parametrize(("name", "kills", "size"), KEEPERS)
def test_the_keeper_is_killed(
    start: Start, bucket: Bucket, name: str, kills: int, size: int
) -> None:
    """The same; in truth nobody waits at all."""
    survive(start, bucket, name, kills, size, kill_keeper)


BOTH = [
    pytest.param("untar", 2, 60, id="untar"),
    *(pytest.param(name, 8, SHORT[name][1], id=f"{name}-long", marks=SOAK) for name in WITH_KEEPER),
]


def kill_both(pod: S3Pod) -> None:
    """Kill the keeper, and the worker as soon as the next keeper has the mount."""
    kill_keeper(pod)
    pod.kill_worker()


@pytest.mark.parametrize(("name", "kills", "size"), BOTH)
def test_the_keeper_is_killed_and_then_the_worker(
    start: Start, bucket: Bucket, name: str, kills: int, size: int
) -> None:
    """Within a second: the same."""
    survive(start, bucket, name, kills, size, kill_both)
