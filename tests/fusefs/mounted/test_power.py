"""The machine goes down under a mount: what the next boot uploads, and what it keeps aside."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from fusefs.disk.boot import boot_id
from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_lifecycle import eventually
from tests.mounts.ours import OurMount
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

pytestmark = pytest.mark.one_driver


def reboot(mount: OurMount) -> None:
    """Kill the mount, make what it left that of an earlier boot, and start it again."""
    mount.expected.append(".")
    mount.kill()
    for log in (mount.cache / "staged").glob("*.log"):
        log.write_bytes(log.read_bytes().replace(boot_id().encode(), b"earlier"))
    mount.restart()


def test_what_was_being_written_never_replaces_the_object(mount: OurMount, bucket: Bucket) -> None:
    """Some of it may not be on the disk: it is kept aside, and the log says where."""
    bucket.put("f", b"good" * 1000)
    fd = os.open(mount.path / "f", os.O_RDWR)
    os.pwrite(fd, b"half", 0)
    reboot(mount)
    with suppress(OSError):  # its connection has ended
        os.close(fd)
    assert eventually(lambda: "may have damaged are kept" in mount.said_since_start(), 10)
    (kept,) = (mount.cache / "conflicts").glob("*.data")
    assert kept.read_bytes()[:4] == b"half"
    assert (mount.path / "f").read_bytes() == bucket.get("f") == b"good" * 1000


def test_what_a_failed_commit_left_is_uploaded(
    mounts: Mounts, bucket: Bucket, proxy: Proxy
) -> None:
    """The store was away; all of it is on the disk, with checksums."""
    mount = mounts(bucket, "-o", "retries=1", "--retry-for", "0", endpoint=proxy.endpoint)
    bucket.put("f", b"good" * 1000)
    fd = os.open(mount.path / "f", os.O_RDWR)
    os.pwrite(fd, b"more", 4000)
    with proxy.refusing():
        with pytest.raises(OSError, match="Input/output error"):
            os.fsync(fd)
        mount.expected.append(".")
        mount.kill()
    with suppress(OSError):  # its connection has ended
        os.close(fd)
    reboot(mount)
    assert eventually(lambda: bucket.get("f") == b"good" * 1000 + b"more", 20)
