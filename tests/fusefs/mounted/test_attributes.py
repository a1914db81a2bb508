"""Attributes: what stat shows is what s3fs's metadata says, and the other way round."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place
from tests.servers.s3 import Bucket


def test_new_files_belong_to_their_maker(here: Place) -> None:
    """Mode by umask, owner by caller, times by the clock, all stored as s3fs stores them."""
    old = os.umask(0o027)
    (here / "f").write_bytes(b"x")
    os.umask(old)
    stored = here.keys.metadata("f")
    seen = (here / "f").stat()
    assert int(stored["mode"]) == seen.st_mode == stat.S_IFREG | 0o640
    assert (int(stored["uid"]), int(stored["gid"])) == (seen.st_uid, seen.st_gid)
    assert (seen.st_uid, seen.st_gid) == (os.getuid(), os.getgid())
    assert abs(float(stored["mtime"]) - seen.st_mtime) < 2


def test_chmod(given: Place) -> None:
    """The mode is stored with its type bits; content and type of the object stay."""
    given.keys.put("f", b"content", {"mine": "kept"}, content_type="text/x-special")
    os.chmod(given / "f", 0o2754)
    assert int(given.keys.metadata("f")["mode"]) == stat.S_IFREG | 0o2754
    assert (given / "f").stat().st_mode == stat.S_IFREG | 0o2754
    assert given.keys.get("f") == b"content"
    assert given.keys.metadata("f")["mine"] == "kept"
    assert given.keys.head("f")["ContentType"] == "text/x-special"


def test_chown(here: Place) -> None:
    """Owner and group, together and one by one."""
    (here / "f").write_bytes(b"content")
    os.chown(here / "f", 1234, 4321)
    os.chown(here / "f", -1, 99)
    stored = here.keys.metadata("f")
    assert (stored["uid"], stored["gid"]) == ("1234", "99")
    assert ((here / "f").stat().st_uid, (here / "f").stat().st_gid) == (1234, 99)


def test_utimens(here: Place) -> None:
    """Both times to the nanosecond; the file isn't touched otherwise."""
    (here / "f").write_bytes(b"content")
    os.utime(here / "f", ns=(1_111_111_111_123_456_789, 1_222_222_222_987_654_321))
    seen = (here / "f").stat()
    assert seen.st_mtime_ns == 1_222_222_222_987_654_321
    assert seen.st_atime_ns == 1_111_111_111_123_456_789
    assert here.keys.metadata("f")["mtime"].startswith("1222222222")
    assert here.keys.get("f") == b"content"


def test_attributes_of_an_open_dirty_file_are_part_of_its_upload(here: Place) -> None:
    """chmod and utime between write and close are in the stored object."""
    with (here / "f").open("wb", buffering=0) as file:
        file.write(b"content")
        os.fchmod(file.fileno(), 0o600)
        os.utime(file.fileno(), (1_000_000_000, 1_000_000_000))
    assert int(here.keys.metadata("f")["mode"]) & 0o7777 == 0o600
    assert (here / "f").stat().st_mtime == 1_000_000_000
    assert here.keys.get("f") == b"content"


def test_writing_moves_mtime(here: Place) -> None:
    """A write after a set time is newer."""
    (here / "f").write_bytes(b"1")
    os.utime(here / "f", (1_000_000_000, 1_000_000_000))
    (here / "f").write_bytes(b"2")
    assert (here / "f").stat().st_mtime > 1_600_000_000


def test_extended_attributes(here: Place) -> None:
    """set, get, list, replace, remove; binary values; they survive a rewrite of the file."""
    path = here / "f"
    path.write_bytes(b"content")
    os.setxattr(path, "user.colour", b"blue")
    os.setxattr(path, "user.binary", bytes(range(256)))
    os.setxattr(path, "user.empty", b"")
    assert sorted(os.listxattr(path)) == ["user.binary", "user.colour", "user.empty"]
    assert os.getxattr(path, "user.binary") == bytes(range(256))
    os.setxattr(path, "user.colour", b"red", os.XATTR_REPLACE)
    os.removexattr(path, "user.empty")
    path.write_bytes(b"rewritten")
    assert os.getxattr(path, "user.colour") == b"red"
    assert sorted(os.listxattr(path)) == ["user.binary", "user.colour"]


def test_an_acl_and_the_permissions_agree(here: Place) -> None:
    """setfacl shows in the mode, chmod in the ACL; one that a mode can say is just that mode."""
    path = here / "f"
    path.write_bytes(b"content")
    path.chmod(0o600)
    subprocess.run(["setfacl", "--set", "u::rw,g::r,o::r", path], check=True, timeout=30)
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listxattr(path) == []
    subprocess.run(["setfacl", "-m", "u:1000:rw", path], check=True, timeout=30)
    assert path.stat().st_mode & 0o777 == 0o664
    path.chmod(0o640)
    shown = subprocess.check_output(["getfacl", "-ncE", path], text=True, timeout=30)
    assert shown.split() == ["user::rw-", "user:1000:rw-", "group::r--", "mask::r--", "other::---"]
    assert int(here.keys.metadata("f")["mode"]) & 0o777 == 0o640


def test_errnos_of_extended_attributes(here: Place) -> None:
    """ENODATA for what isn't there, EEXIST for what must not be."""
    (here / "f").touch()
    path = here / "f"
    os.setxattr(path, "user.there", b"1")
    cases: list[tuple[Callable[..., object], tuple[object, ...], int]] = [
        (os.getxattr, ("user.none",), errno.ENODATA),
        (os.removexattr, ("user.none",), errno.ENODATA),
        (os.setxattr, ("user.none", b"", os.XATTR_REPLACE), errno.ENODATA),
        (os.setxattr, ("user.there", b"", os.XATTR_CREATE), errno.EEXIST),
    ]
    for call, arguments, expected in cases:
        with pytest.raises(OSError) as caught:
            call(path, *arguments)
        assert caught.value.errno == expected


def test_attributes_of_a_directory(lenient_bucket: Bucket, mounts: Mounts) -> None:
    """Mode, owner, times and extended attributes are kept in the marker, over a remount."""
    mount = mounts(lenient_bucket)
    path = mount.path / "d"
    path.mkdir()
    os.chmod(path, 0o1751)
    os.chown(path, 12, 34)
    os.setxattr(path, "user.colour", b"blue")
    os.utime(path, ns=(1_111_111_111_123_456_789, 1_222_222_222_987_654_321))
    for _ in range(2):
        seen = path.stat()
        assert (seen.st_mode, seen.st_uid, seen.st_gid) == (stat.S_IFDIR | 0o1751, 12, 34)
        assert seen.st_mtime_ns == 1_222_222_222_987_654_321
        assert os.getxattr(path, "user.colour") == b"blue"
        assert mount.stop() == 0
        mount.restart()
    assert int(lenient_bucket.metadata("d/")["mode"]) == stat.S_IFDIR | 0o1751


def test_attributes_of_an_implied_directory(lenient_bucket: Bucket, mounts: Mounts) -> None:
    """A directory that has no marker gets one when it is given attributes."""
    lenient_bucket.put("implied/f", b"x")
    os.chmod(mounts(lenient_bucket).path / "implied", 0o700)
    assert int(lenient_bucket.metadata("implied/")["mode"]) == stat.S_IFDIR | 0o700
    assert lenient_bucket.get("implied/f") == b"x"


def test_a_store_that_drops_what_markers_carry(here: Place) -> None:
    """SeaweedFS keeps no metadata of `name/`: chmod of a directory is no error there."""
    (here / "d").mkdir()
    (here / "d").chmod(0o700)
    assert (here / "d").is_dir()
    assert "d/" in here.keys


def test_metadata_of_others_is_read(bucket: Bucket, mounts: Mounts) -> None:
    """Attributes as s3fs writes them show in stat; without any, mount settings do."""
    stored = {"mode": "33188", "uid": "1001", "gid": "1002", "mtime": "1234567890"}
    bucket.put("with", b"1234", stored | {"mode": str(0o100604)})
    bucket.put("without", b"12345")
    root = mounts(bucket, "--uid", "77", "--gid", "78", "--file-mode", "0640").path
    seen = (root / "with").stat()
    assert (seen.st_mode, seen.st_uid, seen.st_gid) == (0o100604, 1001, 1002)
    assert (seen.st_mtime, seen.st_size) == (1234567890, 4)
    seen = (root / "without").stat()
    assert (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_size) == (0o100640, 77, 78, 5)
    assert abs(seen.st_mtime - bucket.head("without")["LastModified"].timestamp()) < 2


def test_statfs_lets_programs_go_on(here: Place) -> None:
    """`df` and installers see room, a sane block size and the name limit."""
    numbers = os.statvfs(here.path)
    assert numbers.f_bavail * numbers.f_frsize > 1 << 40
    assert numbers.f_namemax == 255
    assert numbers.f_bsize >= 512
    assert numbers.f_favail > 1 << 20


def test_device_nodes_are_refused_or_stored(here: Place) -> None:
    """A fifo is an object that others see as a fifo, or a clear refusal."""
    try:
        os.mkfifo(here / "fifo")
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EOPNOTSUPP)
    else:
        assert stat.S_ISFIFO((here / "fifo").lstat().st_mode)
        assert stat.S_ISFIFO(int(here.keys.metadata("fifo")["mode"]))


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK], ids=oct)
def test_a_new_owner_takes_the_set_id_bits_off(here: Place, kind: int) -> None:
    """Off files, fifos and sockets; a directory keeps its set-group-id."""
    path = here / "f"
    os.mknod(path, kind | 0o600)
    path.chmod(0o6755)
    assert path.stat().st_mode == kind | 0o6755
    os.chown(path, 12, 34)
    assert path.stat().st_mode == kind | 0o755
    (here / "d").mkdir()
    (here / "d").chmod(0o2755)
    os.chown(here / "d", 12, 34)
    assert stat.S_IMODE((here / "d").stat().st_mode) == 0o2755


def test_a_default_acl_is_refused(here: Place) -> None:
    """Nothing would inherit from it, so nobody is told that it is set; there is none to remove."""
    (here / "d").mkdir()
    command = ["setfacl", "-d", "-m", "u:1000:rw", here / "d"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Operation not supported" in done.stderr
    assert os.listxattr(here / "d") == []
    subprocess.run(["setfacl", "-k", here / "d"], check=True, timeout=30)
    subprocess.run(["cp", "-a", here / "d", here / "copy"], check=True, timeout=30)


def test_a_program_gets_its_execute_bit(here: Place) -> None:
    """A script made executable runs from the mount."""
    (here / "run").write_text("#!/bin/sh\necho ran\n")
    (here / "run").chmod(0o755)
    assert os.access(here / "run", os.X_OK)
    assert subprocess.check_output([here / "run"], timeout=30) == b"ran\n"


def test_content_type_follows_the_suffix(here: Place) -> None:
    """A new object says what it is, so that a browser shows it."""
    for name, kind in (("a.html", "text/html"), ("b.json", "application/json")):
        (here / name).write_bytes(b"x")
        assert here.keys.head(name)["ContentType"] == kind


def test_a_directory_changes_with_its_entries(here: Place) -> None:
    """Its mtime and ctime are those of the last name made, removed or renamed in it, here."""
    (here / "d").mkdir()
    (here / "d/sub").mkdir()

    def after(call: Callable[..., object], *arguments: object) -> bool:
        os.utime(here / "d", (1_000_000_000, 1_000_000_000))
        assert (here / "d").stat().st_mtime == 1_000_000_000
        changed = (here / "d").stat().st_ctime_ns
        call(*arguments)
        seen = (here / "d").stat()
        return seen.st_mtime_ns > changed and seen.st_ctime_ns > changed

    assert after((here / "d/f").touch)
    assert after((here / "d/new").mkdir)
    assert after(os.symlink, "f", here / "d/link")
    assert after((here / "d/f").rename, here / "d/g")
    assert after((here / "d/g").rename, here / "d/sub/g")
    assert after((here / "d/link").unlink)
    assert after((here / "d/new").rmdir)
    assert not after((here / "d/sub/g").write_bytes, b"content")
