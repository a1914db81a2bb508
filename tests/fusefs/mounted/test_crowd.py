"""A directory of 1 000 000 names, used as programs do; a quarter of a gigabyte must do for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.mounts.mount import REPOSITORY
from tests.mounts.ours import Directories, OurMount
from tests.servers.child import descendants
from tests.servers.s3 import Bucket, Credentials, Endpoint

MANY = 1_000_000
MIB = 1 << 20
MOST = 256 * MIB
ROUNDS = 4_500
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


def memory(mount: OurMount, field: str) -> int:
    """Return a figure of its processes in all, in bytes: VmHWM is the most, VmRSS that of now."""
    found = 0
    for pid in (mount.child.pid, *descendants(mount.child.pid)):
        status = Path(f"/proc/{pid}/status").read_text()
        found += int(status.partition(f"{field}:")[2].split()[0]) * 1024
    return found


def peak(mount: OurMount) -> int:
    """Return the sum of what its processes have had in memory at most, in bytes."""
    return memory(mount, "VmHWM")


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


@pytest.mark.soak
@pytest.mark.one_driver
@pytest.mark.timeout(HOURS)
def test_memory_is_flat_over_4_500_rounds(mounts: Mounts, bucket: Bucket) -> None:
    """Create, read, rename, unlink: the last 3 000 files leave what the first 1 500 did."""
    mount = mounts(bucket)
    after = {}
    for number in range(1, ROUNDS + 1):
        old, new = mount.path / f"old-{number}", mount.path / f"new-{number}"
        old.write_bytes(b"x" * 5000)
        assert old.read_bytes() == b"x" * 5000
        old.rename(new)
        new.unlink()
        if number in (ROUNDS // 3, ROUNDS):
            after[number] = memory(mount, "VmRSS")
    first, last = after.values()
    print(f"MiB after a third {first / MIB:.1f}, in the end {last / MIB:.1f}")
    assert last - first < 6 * MIB
