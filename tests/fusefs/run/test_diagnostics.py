"""SIGUSR1 and SIGUSR2 to the process that people see."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.run.diagnostics import Diagnostics
from tests.mounts.log import parse
from tests.mounts.ours import Directories, OurMount
from tests.servers.s3 import Bucket

WRITES = (
    "import sys, time; f = open(sys.argv[1], 'w'); f.write('x' * 1000); f.flush(); time.sleep(60)"
)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put this process's handlers and log level back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    level = logging.getLogger().level
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    logging.getLogger().setLevel(level)


@pytest.mark.usefixtures("handlers")
def test_debugging_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """The log is as before when the time is over."""
    logging.getLogger().setLevel(logging.INFO)
    Diagnostics(list, debug_seconds=0.05).start()
    os.kill(os.getpid(), signal.SIGUSR1)
    until = time.monotonic() + 10
    while "as before" not in caplog.text and time.monotonic() < until:
        time.sleep(0.01)
    assert "everything is logged now" in caplog.text
    assert "the log is as before again" in caplog.text
    assert logging.getLogger().level == logging.INFO


@pytest.mark.mount
def test_a_mount_tells_what_it_holds(bucket: Bucket, tmp_path: Path) -> None:
    """By a signal to `fusefs mount` itself: dirty files, handles, slowest operations, threads."""
    mount = OurMount(bucket.name, Directories(tmp_path), bucket.endpoint, "native")
    writer = None
    try:
        mount.wait_ready()
        command = [sys.executable, "-c", WRITES, mount.path / "file"]
        writer = subprocess.Popen(command)

        def said() -> dict[str, dict[str, object]]:
            return {line.fields["event"]: line.fields for line in parse(mount.said())}

        while "diagnosis: a file that isn't in the store" not in said():
            mount.child.signal(signal.SIGUSR2)
            time.sleep(0.2)  # until the writer has written; the test has a time limit
        lines = said()
        assert lines["diagnosis: a file that isn't in the store"]["key"] == "file"
        assert lines["diagnosis: state"]["dirty_files"] == 1
        assert "write ok" in lines["diagnosis: slowest operations"]
        assert "MainThread" in str(lines["diagnosis: threads"]["at"])
        mount.child.signal(signal.SIGUSR1)
        mount.child.wait_until(lambda: "everything is logged now" in said(), 10)
        writer.kill()
        writer.wait(10)
        assert mount.stop() == 0
    finally:
        if writer is not None:
            writer.kill()
            writer.wait(10)
        mount.release()
