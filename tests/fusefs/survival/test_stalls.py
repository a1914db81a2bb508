"""An application that waits for a store that doesn't answer."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fusefs.survival.nobody import nobody
from tests.fusefs.survival.s3pod import S3Pod
from tests.proxy.faults import Stall
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.mount

READ = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: print("signal", flush=True))
print("begin", flush=True)
print(open(sys.argv[1]).read(), flush=True)
"""


@pytest.fixture
def stalled(base: Path, bucket: Bucket, proxy: Proxy) -> Iterator[S3Pod]:
    """A mount of a bucket that is known by now and doesn't answer any more."""
    bucket.put("f", b"content")
    pod = S3Pod(base, bucket, endpoint=proxy.endpoint, **nobody(base))
    try:
        pod.start()
        assert (pod.root / "f").stat().st_size == 7
        proxy.inject(
            Stall(60), lambda seen: seen.operation == "GetObject" and seen.key == "f", times=None
        )
        yield pod
    finally:
        proxy.heal()
        pod.clean_up()


def reader(pod: S3Pod) -> subprocess.Popen[str]:
    """Start a process that reads the file, and wait until it does."""
    command = [sys.executable, "-c", READ, pod.root / "f"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begin\n"
    time.sleep(0.3)
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_can_be_killed(stalled: S3Pod, number: signal.Signals) -> None:
    """At once; the mount goes on, and nothing of the caller stays open."""
    process = reader(stalled)
    process.send_signal(number)
    began = time.monotonic()
    process.communicate(timeout=10)
    assert process.returncode == -number and time.monotonic() - began < 2
    (stalled.root / "new").mkdir()
    assert not stalled.verdict()


def test_another_signal_is_no_error(stalled: S3Pod, proxy: Proxy) -> None:
    """It goes on waiting, and reads what it asked for."""
    process = reader(stalled)
    process.send_signal(signal.SIGUSR1)
    time.sleep(1)
    proxy.heal()
    stalled.kill_worker()  # the request itself is stalled for a minute
    output, _ = process.communicate(timeout=20)
    assert output.split() == ["signal", "content"] or output.split() == ["content", "signal"]


def test_many_can_be_killed(stalled: S3Pod) -> None:
    """More than the worker has threads for."""
    processes = [reader(stalled) for _ in range(2)]
    script = "for i in $(seq 40); do cat f & done; wait"
    crowd = subprocess.Popen(["sh", "-c", script], cwd=stalled.root, start_new_session=True)
    time.sleep(3)
    for process in processes:
        process.kill()
        process.communicate(timeout=5)
    subprocess.run(["pkill", "-KILL", "-g", str(crowd.pid)], check=True, timeout=5)
    crowd.communicate(timeout=10)
    (stalled.root / "new").mkdir()
