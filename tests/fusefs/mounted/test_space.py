"""A cache disk that is full: evict, upload early, slow down, and at last ENOSPC at write()."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from time import monotonic

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.ours import OurMount
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

# Small parts, so that little data is enough.
PART = ("-o", "multipart_size=5")
# More than one upload part and its neighbour, far less than what is written and read below.
FREE = 16 * MIB
# What the daemon leaves to others on its disk, by default.
KEPT_FREE = 64 * MIB


@pytest.fixture
def mount(bucket: Bucket, mounts: Mounts) -> OurMount:
    """A mount that believes its cache disk to be nearly full."""
    mount = mounts(bucket, *PART, "--fake-disk-free", str(KEPT_FREE + FREE))
    mount.expected.append("disk|space|cache|full")
    return mount


def used(directory: Path) -> int:
    """Return the bytes that files below a directory take on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def test_a_disk_without_any_room(bucket: Bucket, mounts: Mounts, proxy: Proxy) -> None:
    """ENOSPC after some seconds of waiting, no storm of requests; reading goes on."""
    bucket.put("old", content(2 * MIB))
    free = ("--fake-disk-free", str(KEPT_FREE - MIB), "--full-wait", "2")
    mount = mounts(bucket, *free, endpoint=proxy.endpoint)
    mount.expected.append("disk|space|cache|full")
    began = monotonic()
    with pytest.raises(OSError) as caught, proxy.counting() as seen:
        (mount.path / "f").write_bytes(content(MIB))
    assert caught.value.errno == errno.ENOSPC
    assert monotonic() - began < 30
    assert len(seen) < 20
    assert (mount.path / "old").read_bytes() == content(2 * MIB)


def test_reading_more_than_fits(mount: OurMount, bucket: Bucket) -> None:
    """Clean data gives way: any amount can be read, twice, and the disk is never overrun."""
    data = content(40 * MIB)
    bucket.put("f", data)
    for _ in range(2):
        with (mount.path / "f").open("rb", buffering=0) as file:
            for offset in range(0, len(data), MIB):
                assert file.read(MIB) == data[offset : offset + MIB]
                assert used(mount.cache) <= FREE + 4 * MIB


def test_writing_more_than_fits(mount: OurMount, bucket: Bucket) -> None:
    """One file larger than the disk: all of it is stored, or ENOSPC came from write()."""
    data, written = content(50 * MIB), 0
    fd = os.open(mount.path / "f", os.O_CREAT | os.O_WRONLY)
    try:
        while written < len(data):
            written += os.write(fd, data[written : written + MIB])
            assert used(mount.cache) <= FREE + 8 * MIB
    except OSError as error:
        assert error.errno == errno.ENOSPC
    os.close(fd)
    assert bucket.get("f") == data[:written]
    assert written >= 6 * MIB, "not even a third of what is free"


def test_many_files_one_after_the_other(mount: OurMount, bucket: Bucket) -> None:
    """Each fits: closed files are clean and give way to the next."""
    for number in range(12):
        (mount.path / f"f{number}").write_bytes(content(4 * MIB, number))
    for number in range(12):
        assert bucket.get(f"f{number}") == content(4 * MIB, number)


def test_many_dirty_files_at_once(mount: OurMount, bucket: Bucket) -> None:
    """More dirty data than room: what write() took is stored after close, the rest was ENOSPC."""
    files = {n: os.open(mount.path / f"f{n}", os.O_CREAT | os.O_WRONLY) for n in range(8)}
    taken = dict.fromkeys(files, 0)
    for block in range(6):
        for number, fd in files.items():
            try:
                os.pwrite(fd, content(MIB, number), block * MIB)
            except OSError as error:
                assert error.errno == errno.ENOSPC
            else:
                taken[number] += 1
    for fd in files.values():
        os.close(fd)
    assert sum(taken.values()) >= 8
    for number in files:
        stored = bucket.get(f"f{number}")
        blocks = [stored[at : at + MIB] for at in range(0, len(stored), MIB)]
        assert blocks.count(content(MIB, number)) == taken[number]


def test_after_enospc_all_is_well_again(mount: OurMount, bucket: Bucket) -> None:
    """Room that is given back can be used: a refused writer doesn't poison the mount."""
    fd = os.open(mount.path / "hog", os.O_CREAT | os.O_WRONLY)
    try:
        for block in range(40):
            os.pwrite(fd, content(MIB, 1), 2 * block * MIB)  # holes: no finished part to send early
    except OSError as error:
        assert error.errno == errno.ENOSPC
    os.close(fd)
    os.unlink(mount.path / "hog")
    (mount.path / "f").write_bytes(content(6 * MIB))
    assert bucket.get("f") == content(6 * MIB)
