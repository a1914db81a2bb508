"""Kill -9 under load, with the store behind the mount: nobody sees it, and nothing is lost.

The long form has 200 kills of the worker; `make soak` runs it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fusefs.survival import loads
from tests.fusefs.survival.s3pod import S3Pod
from tests.mounts.log import complaints, parse
from tests.mounts.mount import REPOSITORY
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount

MIB = 1 << 20
# Kills, and the size of what is worked on: bytes or files.
SHORT = {
    "sequential": (3, 24 * MIB),
    "scattered": (3, 24 * MIB),
    "untar": (3, 150),
    "append": (4, 0),
    "copy": (3, 48 * MIB),
    "rename": (3, 30),
}
LONG = {
    "sequential": (30, 256 * MIB),
    "scattered": (30, 256 * MIB),
    "untar": (35, 2000),
    "append": (40, 0),
    "copy": (30, 1024 * MIB),
    "rename": (35, 200),
}
FORMS = [
    *(pytest.param(name, *SHORT[name], id=name) for name in SHORT),
    *(
        pytest.param(
            name, *LONG[name], id=f"{name}-long", marks=(pytest.mark.soak, pytest.mark.timeout(400))
        )
        for name in LONG
    ),
]
# What a kill may be told of in the log, and nothing else.
EXPECTED = ("the keeper", "former process", "mounted already", "refused", "finishing a rename")
WAIT = 2.0


class Application:
    """Programs of `loads` that run until they are told to stop."""

    def __init__(self, pod: S3Pod, name: str, size: int) -> None:
        self._stop = pod.bus.parent / "stop"
        self._size = size
        self._programs = [self._start(name, pod.root / "w"), self._start("pulse", pod.root)]

    def _start(self, name: str, place: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fusefs.survival.loads", name, place, self._stop],
            cwd=REPOSITORY,
            env={**os.environ, "SIZE": str(self._size)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> list[dict[str, Any]]:
        """Tell them to stop; return what each of them says it did."""
        self._stop.touch()
        said = [program.communicate(timeout=90)[0] for program in self._programs]
        assert [program.returncode for program in self._programs] == [0, 0], said
        return [json.loads(each) for each in said]

    def end(self) -> None:
        """End what a failed test left."""
        for program in self._programs:
            program.kill()
            program.communicate(timeout=10)


@pytest.fixture
def run(
    base: Path, bucket: Bucket
) -> Iterator[Callable[[str, int], tuple[S3Pod, Application]]]:
    """Start a pod on the bucket, and a load in it."""
    ends: list[Callable[[], None]] = []

    def start(name: str, size: int, **told: Any) -> tuple[S3Pod, Application]:
        given(name, bucket, size)
        pod = S3Pod(base, bucket, **told)
        ends.append(pod.clean_up)
        pod.start()
        application = Application(pod, name, size)
        ends.append(application.end)
        return pod, application

    yield start
    for end in ends:  # the pod first: programs hang as long as it does
        end()


def given(name: str, bucket: Bucket, size: int) -> None:
    """Store what a load begins with."""
    bucket.put("pulse", b"p")
    bucket.put("w/")
    if name in ("sequential", "scattered"):
        bucket.put("w/file", loads.content("file", size))
    elif name == "rename":
        bucket.put("w/0/")
        bucket.put_many([f"w/0/{number}" for number in range(size)], b"x")


def left(name: str, did: dict[str, Any], size: int) -> dict[str, bytes]:
    """Return the files that a load has left in the bucket if nothing was lost."""
    if name == "untar":
        return {
            f"w/{turn}/{number % 20}/{number}": loads.content(f"{number}", number % 5000)
            for turn in range(did["rounds"])
            for number in range(size)
        }
    if name == "append":
        return {"w/log": b"".join(b"%d\n" % number for number in range(did["lines"]))}
    if name == "copy":
        return dict.fromkeys((f"w/copy{turn % 2}" for turn in range(did["rounds"])), COPY(size))
    if name == "rename":
        return {f"w/{did['rounds']}/{number}": b"x" for number in range(size)}
    return {"w/file": loads.content("file", size)}
