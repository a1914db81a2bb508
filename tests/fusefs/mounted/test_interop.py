"""One bucket, two file systems: what the real s3fs writes we read, and the other way round."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.mount import Mount
from tests.servers.s3 import Bucket

S3fs = Callable[[Bucket], Mount]


def write(root: Path) -> None:
    """Make files, links and directories with every attribute the format has."""
    for size in (0, 1, 5000, 30 * MIB):
        (root / f"f{size}").write_bytes(content(size, size))
    (root / "odd ü'name").write_bytes(b"named")
    (root / "link").symlink_to("f5000")
    os.chmod(root / "f1", 0o4751)
    os.chown(root / "f1", 1234, 5678)
    os.setxattr(root / "f1", "user.colour", b"blue")
    os.setxattr(root / "f1", "user.binary", bytes(range(256)))
    os.utime(root / "f1", (1_300_000_000, 1_200_000_000))
    os.utime(root / "f5000", ns=(1_300_000_000_123_456_789, 1_200_000_000_987_654_321))
    os.lchown(root / "link", 11, 22)
    (root / "dir/sub").mkdir(parents=True)
    (root / "dir/sub/leaf").write_bytes(b"leaf")
    (root / "old").write_bytes(b"moved")
    os.rename(root / "old", root / "dir/moved")


def portrait(path: Path) -> tuple[object, ...]:
    """Return what both have to agree on; times of links are the maker's clock."""
    status = path.lstat()
    owner = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_size)
    if path.is_symlink():
        return (*owner, os.readlink(path))
    attributes = {name: os.getxattr(path, name) for name in sorted(os.listxattr(path))}
    return (*owner, status.st_mtime_ns // 10**9, path.read_bytes(), attributes)


def portraits(root: Path) -> dict[str, tuple[object, ...]]:
    """Return portraits of all files and links below; directories by name."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        is_plain = path.is_symlink() or not path.is_dir()
        found[str(path.relative_to(root))] = portrait(path) if is_plain else ("directory",)
    return found


def test_what_s3fs_wrote_reads_the_same_through_ours(
    bucket: Bucket, mount_s3fs: S3fs, mounts: Mounts
) -> None:
    """Content, mode, owner, mtime, link targets, extended attributes, directories."""
    theirs = mount_s3fs(bucket).path
    write(theirs)
    assert portraits(mounts(bucket).path) == portraits(theirs)


def test_what_we_wrote_reads_the_same_through_s3fs(
    bucket: Bucket, mount_s3fs: S3fs, mounts: Mounts
) -> None:
    """The same in the other direction."""
    ours = mounts(bucket).path
    write(ours)
    assert portraits(mount_s3fs(bucket).path) == portraits(ours)


def write_directories(root: Path) -> None:
    """Make directories with attributes."""
    (root / "plain").mkdir()
    (root / "plain/below").mkdir()
    (root / "special").mkdir()
    os.chmod(root / "special", 0o1770)
    os.chown(root / "special", 321, 654)
    os.utime(root / "special", (1_300_000_000, 1_200_000_000))
    os.setxattr(root / "special", "user.colour", b"red")


def directories(root: Path) -> dict[str, tuple[object, ...]]:
    """Return mode, owner, mtime and extended attributes of all directories below."""
    return {
        str(path.relative_to(root)): (
            oct(path.stat().st_mode),
            path.stat().st_uid,
            path.stat().st_gid,
            int(path.stat().st_mtime),
            {name: os.getxattr(path, name) for name in os.listxattr(path)},
        )
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_directories_have_the_same_attributes(
    lenient_bucket: Bucket, mount_s3fs: S3fs, mounts: Mounts, writer: str
) -> None:
    """On a store that keeps the metadata of markers."""
    makers: list[Callable[[Bucket], Mount]] = [mounts, mount_s3fs]
    first, second = makers if writer == "ours" else reversed(makers)
    written = first(lenient_bucket).path
    write_directories(written)
    assert directories(second(lenient_bucket).path) == directories(written)


def test_back_and_forth(bucket: Bucket, mount_s3fs: S3fs, mounts: Mounts) -> None:
    """s3fs writes, ours edits and renames, s3fs appends, ours reads: nothing is lost on the way."""
    theirs = mount_s3fs(bucket)
    (theirs.path / "f").write_bytes(content(8 * MIB))
    os.setxattr(theirs.path / "f", "user.colour", b"blue")
    os.chmod(theirs.path / "f", 0o640)
    ours = mounts(bucket, "--attr-ttl", "1")
    with (ours.path / "f").open("rb+") as file:
        file.seek(6 * MIB)
        file.write(b"edited")
    os.rename(ours.path / "f", ours.path / "g")
    with (theirs.path / "g").open("ab") as file:
        file.write(b"appended")
    expected = bytearray(content(8 * MIB))
    expected[6 * MIB : 6 * MIB + 6] = b"edited"
    assert (ours.path / "g").read_bytes() == bytes(expected) + b"appended"
    assert os.getxattr(ours.path / "g", "user.colour") == b"blue"
    assert (ours.path / "g").stat().st_mode & 0o777 == 0o640


FOREIGN = {
    "s3sync": {"permissions": "416", "owner": "1001", "group": "1002"},
    "rclone": {"mtime": "1234567890.123456789"},
    "goofys": {"uid": "1001", "gid": "1002"},
}


@pytest.mark.parametrize("tool", FOREIGN)
def test_attributes_of_other_tools(bucket: Bucket, mounts: Mounts, tool: str) -> None:
    """Objects of other tools are readable files, with attributes where they are unambiguous."""
    bucket.put("f", b"content", FOREIGN[tool])
    path = mounts(bucket, "--uid", "7", "--gid", "8").path / "f"
    status = path.stat()
    assert path.read_bytes() == b"content"
    assert status.st_mode & 0o170000 == 0o100000
    if tool == "rclone":
        assert int(status.st_mtime) == 1234567890
    if tool == "goofys":
        assert (status.st_uid, status.st_gid) == (1001, 1002)


@pytest.mark.parametrize("marker", ["old_$folder$", "old/"])
def test_directory_markers_of_other_tools(bucket: Bucket, mounts: Mounts, marker: str) -> None:
    """Hadoop's and the console's markers are directories, and vanish with rmdir."""
    bucket.put(marker)
    root = mounts(bucket).path
    assert os.listdir(root) == ["old"]
    assert (root / "old").is_dir()
    (root / "old").rmdir()
    assert os.listdir(root) == []
    assert bucket.keys() == []


@pytest.mark.parametrize("marker", ["old_$folder$", "old/"])
def test_renaming_directories_of_other_tools(bucket: Bucket, mounts: Mounts, marker: str) -> None:
    """The old name is gone, the new one is there, empty directory or not."""
    bucket.put(marker)
    root = mounts(bucket).path
    assert os.listdir(root) == ["old"]
    (root / "old").rename(root / "new")
    assert os.listdir(root) == ["new"]
    assert bucket.keys() == ["new/"]
