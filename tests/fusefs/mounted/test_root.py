"""The mount's root where that is a whole bucket: it has no key, and is a directory as any other."""

from __future__ import annotations

import os
import stat

from tests.fusefs.mounted.conftest import Mounts
from tests.servers.s3 import Bucket


def test_attributes_of_the_root_of_a_whole_bucket(bucket: Bucket, mounts: Mounts) -> None:
    """They are kept beside the cache, over a remount too, and no key in the bucket tells of it."""
    mount = mounts(bucket)
    os.chown(mount.path, 999, 998)
    os.chmod(mount.path, 0o2770)
    os.utime(mount.path, (1_000_000_000, 1_000_000_000))
    os.setxattr(mount.path, "user.colour", b"blue")
    for _ in range(2):
        seen = mount.path.stat()
        assert (seen.st_uid, seen.st_gid) == (999, 998)
        assert (seen.st_mode, seen.st_mtime) == (stat.S_IFDIR | 0o2770, 1_000_000_000)
        assert os.getxattr(mount.path, "user.colour") == b"blue"
        assert mount.stop() == 0
        mount.restart()
    os.removexattr(mount.path, "user.colour")
    assert os.listxattr(mount.path) == []
    assert bucket.keys() == []


def test_chown_of_all_from_the_root_on(lenient_bucket: Bucket, mounts: Mounts) -> None:
    """What an entry point does first: each file and directory gets the owner, and so does `/`."""
    for key in ("f", "d/", "d/g", "implied/h"):
        lenient_bucket.put(key, b"" if key.endswith("/") else b"content")
    root = mounts(lenient_bucket).path
    for top, _, names in os.walk(root, topdown=False):
        for path in [top, *(os.path.join(top, name) for name in names)]:
            os.chown(path, 999, 999)
    found = [root / name for name in (".", "f", "d", "d/g", "implied", "implied/h")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in found} == {(999, 999)}
