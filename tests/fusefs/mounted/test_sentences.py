"""Sentences of docs/semantics.md that no other module's tests are about."""

from __future__ import annotations

import errno
import os
import stat
import time

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place
from tests.fusefs.mounted.test_read import MIB, content
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

RENAME_EXCHANGE = 2


def test_names_keep_the_order_of_the_store(given: Place) -> None:
    """A directory sorts as its prefix, with the slash."""
    given.keys.put_many(["b", "a/x", "a-b", "a0", "Z"])
    with os.scandir(given.path) as entries:
        assert [entry.name for entry in entries] == ["Z", "a-b", "a", "a0", "b"]


def test_the_link_count_of_a_directory_hides_no_subdirectory(given: Place) -> None:
    """Programs take 2 for "no subdirectories"; 1 says that they aren't counted."""
    given.keys.put_many(["d/e/f"])
    assert (given.path / "d").stat().st_nlink == 1
    (given.path / "d" / "new").mkdir()
    assert (given.path / "d").stat().st_nlink == 1


@pytest.mark.one_driver
def test_only_attributes_tell_whether_a_small_object_is_a_link(
    bucket: Bucket, mounts: Mounts
) -> None:
    """Its type is unknown until they are; a larger one is a file, and a link is never a file."""
    bucket.put("link", b"large", {"mode": str(stat.S_IFLNK | 0o777)})
    bucket.put("large", content(5000))
    path = mounts(bucket).path
    with os.scandir(path) as entries:
        assert {entry.name: entry.is_symlink() for entry in entries} == {
            "large": False,
            "link": True,  # of an unknown type Python asks with lstat
        }
    assert (path / "link").readlink().name == "large"
    assert (path / "link").read_bytes() == content(5000)


def test_truncating_a_closed_file_stores_it(given: Place) -> None:
    """Both ways, without a close."""
    given.keys.put("f", b"0123456789")
    os.truncate(given / "f", 4)
    assert given.keys.get("f") == b"0123"
    os.truncate(given / "f", 6)
    assert given.keys.get("f") == b"0123\0\0"


@pytest.mark.one_driver
def test_what_is_set_before_the_close_of_a_large_file_is_kept(
    bucket: Bucket, mounts: Mounts, proxy: Proxy
) -> None:
    """Its upload began long before: times and mode are corrected by one copy."""
    path = mounts(bucket, endpoint=proxy.endpoint).path / "f"
    data = content(40 * MIB)
    with proxy.counting() as seen, path.open("wb", buffering=0) as file:
        for start in range(0, len(data), MIB):
            file.write(data[start : start + MIB])
        os.fchmod(file.fileno(), 0o640)
        os.utime(file.fileno(), ns=(1_000_000_000, 2_000_000_003))
    metadata = bucket.metadata("f")
    assert int(metadata["mode"]) == stat.S_IFREG | 0o640
    assert path.stat().st_mtime_ns == 2_000_000_003
    assert len(seen.of("CopyObject")) == 1
    assert bucket.get("f") == data


@pytest.mark.one_driver
def test_without_attributes_none_are_stored_or_asked_for(
    bucket: Bucket, mounts: Mounts, proxy: Proxy
) -> None:
    """`--metadata none`: the mount's own settings are shown, links are refused."""
    bucket.put("old", b"x", {"mode": "33152", "uid": "7"})
    options = ("--metadata", "none", "--uid", "5", "--file-mode", "0604", "--dir-mode", "0705")
    path = mounts(bucket, *options, endpoint=proxy.endpoint).path
    assert (path / "old").stat().st_uid == 5
    (path / "new").write_bytes(b"y")
    (path / "new").chmod(0o777)
    (path / "d").mkdir()
    assert stat.S_IMODE((path / "old").stat().st_mode) == 0o604
    assert stat.S_IMODE((path / "d").stat().st_mode) & 0o705 == 0o705
    assert bucket.metadata("new") == {}
    with pytest.raises(OSError) as caught:
        (path / "link").symlink_to("old")
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.one_driver
def test_exchanging_two_names_is_refused(given: Place) -> None:
    """EINVAL, with both where they were."""
    import ctypes

    given.keys.put_many(["a", "b"])
    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(given / name) for name in "ab"]
    assert libc.renameat2(-100, names[0], -100, names[1], RENAME_EXCHANGE) == -1
    assert ctypes.get_errno() == errno.EINVAL
    assert sorted(given.keys.keys()) == ["a", "b"]


@pytest.mark.one_driver
def test_hidden_keys_are_told_once(lenient_bucket: Bucket, mounts: Mounts) -> None:
    """One line says how many keys of a directory have no name."""
    for key in ("f", "d/./x", "d//y", "d/ok"):
        lenient_bucket.put(key)
    mount = mounts(lenient_bucket)
    assert os.listdir(mount.path / "d") == ["ok"]
    assert mount.said().count("can't be shown as names") == 1


@pytest.mark.one_driver
def test_in_a_long_outage_calls_fail_soon(bucket: Bucket, mounts: Mounts, proxy: Proxy) -> None:
    """The first one waits its time out; those behind it don't wait again."""
    bucket.put("f", b"x")
    mount = mounts(bucket, "--retry-for", "2s", endpoint=proxy.endpoint)
    mount.expected.append(".")
    proxy.refuse()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(OSError):
            (mount.path / "f").read_bytes()
    assert time.monotonic() - began < 2
    proxy.accept()
    assert (mount.path / "f").read_bytes() == b"x"
