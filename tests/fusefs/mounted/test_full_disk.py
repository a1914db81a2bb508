"""A cache disk without room: slower, or ENOSPC, never a wrong object."""

from __future__ import annotations

import errno

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_read import MIB, content
from tests.proxy.faults import Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

# The mount leaves 64 MiB of a disk free, so this much is 24 MiB of cache.
SMALL_DISK = ("--fake-disk-free", "88Mi")


@pytest.mark.timeout(180)
def test_a_file_larger_than_the_disk(mounts: Mounts, bucket: Bucket) -> None:
    """Three times the room there is can be written, and read back."""
    mount = mounts(bucket, *SMALL_DISK)
    data = content(72 * MIB)
    (mount.path / "f").write_bytes(data)
    assert bucket.get("f") == data
    assert (mount.path / "f").read_bytes() == data


@pytest.mark.timeout(180)
def test_a_full_disk_and_no_store(mounts: Mounts, bucket: Bucket, proxy: Proxy) -> None:
    """ENOSPC at write(2); what was acknowledged is in the object after the store is back."""
    mount = mounts(bucket, *SMALL_DISK, "--full-wait", "2", endpoint=proxy.endpoint)
    mount.expected += ["upload failed", "could not be sent ahead", "unfinished upload"]
    mount.expected += ["no room in the cache directory"]
    proxy.inject(
        Status(400, "MalformedXML"), lambda seen: seen.method in ("PUT", "POST"), times=None
    )
    done = 0
    with (mount.path / "f").open("wb", buffering=0) as file:
        with pytest.raises(OSError) as caught:
            while True:
                done += file.write(content(MIB))
        proxy.heal()
    assert caught.value.errno == errno.ENOSPC
    assert bucket.get("f") == content(MIB) * (done // MIB)
