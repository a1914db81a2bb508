"""The cache directory is removed under a living mount: by a cleaner, or with the pod's volume."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_lifecycle import eventually
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.ours import Directories, OurMount
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.one_driver
SAYS = "the cache directory was removed"


def use_and_remove(mount: OurMount, bucket: Bucket, removal: Callable[[], None]) -> dict[str, int]:
    """Leave a file clean and cached, one dirty, one dirty and removed; then remove the cache.

    Return a descriptor of each.
    """
    mount.expected.append(".")
    bucket.put("clean", content(3 * MIB))
    bucket.put("gone", b"replaced")
    held = {name: os.open(mount.path / name, os.O_RDWR) for name in ("clean", "gone")}
    held["dirty"] = os.open(mount.path / "dirty", os.O_CREAT | os.O_RDWR, 0o644)
    assert os.pread(held["clean"], 3 * MIB, 0) == content(3 * MIB)
    os.write(held["dirty"], content(9 * MIB))
    os.pwrite(held["gone"], content(MIB), 0)
    (mount.path / "gone").unlink()
    removal()
    return held


def remove(directory: Path) -> None:
    """Remove a directory in which files appear meanwhile."""
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=True)


def test_a_removed_cache_directory_costs_nothing_acknowledged(
    mount: OurMount, bucket: Bucket
) -> None:
    """Reads, writes, new files and fsync go on; the log and the probe say what happened."""
    held = use_and_remove(mount, bucket, lambda: remove(mount.cache))
    assert os.pread(held["dirty"], 9 * MIB, 0) == content(9 * MIB)
    assert os.pread(held["clean"], 3 * MIB, 0) == content(3 * MIB)
    assert os.pread(held["gone"], 2 * MIB, 0) == content(MIB)
    assert eventually(lambda: "dirty" in bucket, 20)  # not only at its close
    os.pwrite(held["dirty"], b"more", 9 * MIB)
    os.fsync(held["dirty"])
    assert bucket.get("dirty") == content(9 * MIB) + b"more"
    (mount.path / "d").mkdir()
    (mount.path / "d/new").write_bytes(content(2 * MIB))
    (mount.path / "d/new").rename(mount.path / "d/newer")
    assert bucket.get("d/newer") == (mount.path / "d/newer").read_bytes() == content(2 * MIB)
    os.pwrite(held["clean"], b"last", 0)
    assert mount.stop() == 0
    assert bucket.get("clean") == b"last" + content(3 * MIB)[4:]
    assert mount.said().count(f"{SAYS}: the mount goes on") == 1
    for fd in held.values():
        with suppress(OSError):  # the mount has ended
            os.close(fd)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A directory, and a place where it is mounted, as a volume is in a pod."""
    source, target = tmp_path / "volume", tmp_path / "place"
    source.mkdir()
    target.mkdir()
    subprocess.run(["mount", "--bind", source, target], check=True, timeout=10)
    yield source, target
    subprocess.run(["umount", "-l", target], check=True, timeout=10)


def test_a_removed_volume_costs_nothing_acknowledged(
    mounts: Mounts, bucket: Bucket, volume: tuple[Path, Path], room: Callable[[], Directories]
) -> None:
    """As when a kubelet removes the pod's volumes before it ends the worker: nothing can be made
    there any more, not even the directory again."""
    source, target = volume
    mount = mounts(bucket, "-o", f"use_cache={target}/cache", where=room())
    held = use_and_remove(mount, bucket, lambda: remove(source))
    os.pwrite(held["dirty"], b"more", 9 * MIB)
    assert eventually(lambda: SAYS in mount.said(), 10)
    assert os.pread(held["gone"], 2 * MIB, 0) == content(MIB)
    assert mount.stop() == 0
    assert bucket.get("dirty") == content(9 * MIB) + b"more"
    for fd in held.values():
        with suppress(OSError):  # the mount has ended
            os.close(fd)
