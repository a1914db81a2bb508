"""Directories as other tools store them: found by name on a fresh mount, with their attributes."""

from __future__ import annotations

import os
import stat
import time

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.servers.s3 import Bucket

STORED = {"mode": str(stat.S_IFDIR | 0o2750), "uid": "12", "gid": "34", "mtime": "1234567890"}
KIND = "application/x-directory"
SHOWN = (stat.S_IFDIR | 0o2750, 12, 34, 1234567890)


@pytest.mark.parametrize("below", [[], ["d/f"]], ids=["empty", "with-children"])
@pytest.mark.parametrize("marker", ["d", "d_$folder$"])
def test_a_directory_in_another_form(
    lenient_bucket: Bucket, mounts: Mounts, marker: str, below: list[str]
) -> None:
    """By name before anything is listed, behind the TTL, by listing: one directory, its mode."""
    lenient_bucket.put(marker, b"", STORED, content_type=KIND)
    for key in below:
        lenient_bucket.put(key, b"content")
    root = mounts(
        lenient_bucket, "-o", "compat_dir", "--attr-ttl", "50ms", "--negative-ttl", "0s"
    ).path
    for look in ("by name", "behind the TTL", "far behind it", "listed", "behind its TTL"):
        if look == "listed":
            assert os.listdir(root) == ["d"]
            (entry,) = os.scandir(root)
            assert entry.is_dir(follow_symlinks=False)
        seen = (root / "d").stat()
        assert (seen.st_mode, seen.st_uid, seen.st_gid, int(seen.st_mtime)) == SHOWN, look
        time.sleep(0.6 if look == "behind the TTL" else 0.06)  # its own is ten times the names'
    assert os.listdir(root / "d") == [os.path.basename(key) for key in below]


@pytest.mark.one_driver
@pytest.mark.parametrize("marker", ["d", "d_$folder$"])
def test_what_is_done_with_one(lenient_bucket: Bucket, mounts: Mounts, marker: str) -> None:
    """chmod is kept where the attributes are; rename makes it one of ours; nothing stays behind."""
    lenient_bucket.put(marker, b"", STORED, content_type=KIND)
    lenient_bucket.put("d/f", b"content")
    root = mounts(lenient_bucket, "-o", "compat_dir").path
    (root / "d").chmod(0o700)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700
    (root / "d").rename(root / "e")
    assert sorted(lenient_bucket.keys()) == ["e/", "e/f"]
    (root / "e/f").unlink()
    (root / "e").rmdir()
    assert lenient_bucket.keys() == []


@pytest.mark.one_driver
def test_a_file_beside_a_directory_is_no_marker(lenient_bucket: Bucket, mounts: Mounts) -> None:
    """`a` beside `a/b` is somebody's file, which nobody here shows, changes or removes."""
    lenient_bucket.put("a", b"", {"mode": "33152"}, content_type="text/plain")
    lenient_bucket.put("a/b", b"content")
    root = mounts(lenient_bucket, "--dir-mode", "0711").path
    assert os.listdir(root) == ["a"]
    assert (root / "a").stat().st_mode == stat.S_IFDIR | 0o711
    (root / "a/b").unlink()
    (root / "a").rmdir()
    assert lenient_bucket.keys() == ["a"]
