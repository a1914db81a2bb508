"""A directory of 1 000 000 names, used as programs do; a quarter of a gigabyte must do for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounts.mount import REPOSITORY
from tests.mounts.ours import Directories, OurMount
from tests.servers.child import descendants
from tests.servers.s3 import Credentials, Endpoint

MANY = 1_000_000
MOST = 256 << 20
HOURS = 3 * 3600


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[OurMount]:
    """A mount of a store that makes up its names."""
    command = [sys.executable, "-m", "tests.stores.crowd", str(MANY)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as store:
        assert store.stdout is not None
        port = store.stdout.readline().strip()
        endpoint = Endpoint(f"http://127.0.0.1:{port}", Credentials("any", "any"))
        mount = OurMount("crowd", Directories(tmp_path), endpoint, "native")
        try:
            mount.wait_ready()
            yield mount
            mount.stop()
        finally:
            mount.release()
            store.kill()


def peak(mount: OurMount) -> int:
    """Return the sum of what its processes have had in memory at most, in bytes."""
    found = 0
    for pid in (mount.child.pid, *descendants(mount.child.pid)):
        status = Path(f"/proc/{pid}/status").read_text()
        found += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return found


def lines(command: str, place: Path) -> int:
    """Return how many lines a shell command prints."""
    done = subprocess.run(
        ["sh", "-c", f"{command} | wc -l"], cwd=place, check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    return int(done.stdout)


@pytest.mark.soak
@pytest.mark.one_driver
@pytest.mark.timeout(HOURS)
def test_memory_is_bounded_for_programs_that_use_1_000_000_names(crowd: OurMount) -> None:
    """`ls`, `find` and `rm -r` of one directory, all processes of the mount counted."""
    crowd.watch(HOURS)
    assert lines("ls -f d", crowd.path) == MANY + 2
    listed = peak(crowd)
    assert lines("find d -type f", crowd.path) == MANY
    found = peak(crowd)
    assert lines("rm -rv d", crowd.path) == MANY + 1
    removed = peak(crowd)
    print(f"MiB listed {listed >> 20}, found {found >> 20}, removed {removed >> 20}")
    assert max(listed, found, removed) < MOST
    assert crowd.complaints() == []
