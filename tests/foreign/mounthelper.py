"""What mount(8) runs for `mount -t fuse.s3mount SOURCE DIRECTORY -o …` while xfstests are run.

    python -m tests.foreign.mounthelper FOLDER URL DRIVER SOURCE DIRECTORY [-o OPTIONS]

It starts our program in the background, waits until it is mounted, and says so by its exit code.
Two mounts of one bucket in a row have the same cache directory, as a pod's would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.mounts.table import connection_of
from tests.servers.s3 import REGION

SOURCE = "s3mount:"
REFUSED = 32  # mount(8): the mount failed
SECONDS = 60.0


def main(folder: str, url: str, driver: str, source: str, directory: str, *rest: str) -> int:
    """Mount; return the exit code of a mount helper."""
    words = {word for text in rest for word in text.split(",")}
    if "remount" in words:
        print("s3mount can't be remounted", file=sys.stderr)
        return REFUSED
    bucket, mountpoint = source.removeprefix(SOURCE), Path(directory)
    state = Path(folder) / bucket
    state.mkdir(exist_ok=True)
    _await_former(state / "pid")
    command = [sys.executable, "-m", "fusefs", "mount", bucket, mountpoint]
    command += ["--endpoint-url", url, "--region", REGION, "--cache-dir", state / "cache"]
    command += ["--driver", driver, "--allow-other", "--attr-ttl", "1"]
    command += ["--read-only"] if "ro" in words else []
    with (state / "log").open("ab") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    (state / "pid").write_text(str(child.pid))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        if connection_of(mountpoint) is not None:
            return 0
        time.sleep(0.05)
    return REFUSED


def _await_former(pid: Path) -> None:
    """Wait for the end of the program that served the mount before."""
    deadline = time.monotonic() + SECONDS
    with suppress(FileNotFoundError, ProcessLookupError):
        former = int(pid.read_text())
        while time.monotonic() < deadline:
            os.kill(former, 0)
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
