"""Names: which keys a directory shows, and which keys a name becomes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place
from tests.servers.s3 import Bucket

AWKWARD = [
    "with space",
    "  leading and trailing  ",
    "new\nline",
    "tab\there",
    "quote'\"`quote",
    "back\\slash",
    "ünïcödé ☃ 文字",
    "e\u0301 decomposed",
    "percent%41%2F",
    "plus+and&amp;=?#",
    "*?[glob]",
    "-rf",
    ".hidden",
    "...",
    "~tilde$HOME",
    "<xml>&'\"]]>",
    "\x01\x7f control",
    "a" * 255,
]


def test_lists_names_of_objects_and_of_what_lies_below(given: Place) -> None:
    """Objects are files, common prefixes and markers are directories; nothing else appears."""
    for key in ("file", "marked/", "marked/inside", "implied/deep/leaf", "empty/"):
        given.keys.put(key)
    root = given.path
    found = {entry.name: entry.is_dir() for entry in os.scandir(root)}
    assert found == {"file": False, "marked": True, "implied": True, "empty": True}
    assert os.listdir(root / "marked") == ["inside"]
    assert os.listdir(root / "implied") == ["deep"]
    assert os.listdir(root / "implied/deep") == ["leaf"]
    assert os.listdir(root / "empty") == []


def test_walks_a_directory_of_more_than_a_thousand(given: Place) -> None:
    """More than one LIST page: every name exactly once."""
    names = {f"name-{number:05}" for number in range(1234)}
    given.keys.put_many(names)
    listed = os.listdir(given.path)
    assert len(listed) == len(names)
    assert set(listed) == names


def test_a_stream_survives_removal_of_what_it_has_told(given: Place) -> None:
    """Deleting while listing, as `rm -r` does: no name twice, none skipped."""
    names = {f"n{number:04}" for number in range(300)}
    given.keys.put_many(names)
    told = []
    with os.scandir(given.path) as entries:
        for entry in entries:
            told.append(entry.name)
            os.unlink(entry.path)
    assert sorted(told) == sorted(names)
    assert os.listdir(given.path) == []
    given.path.rmdir()


@pytest.mark.parametrize("name", AWKWARD, ids=ascii)
def test_any_name_written_is_that_key(here: Place, name: str) -> None:
    """Content written under an awkward name has exactly this key, and is listed and removed."""
    (here / name).write_bytes(b"content")
    assert here.keys.get(name) == b"content"
    assert os.listdir(here.path) == [name]
    (here / name).unlink()
    assert name not in here.keys


@pytest.mark.parametrize("name", [name for name in AWKWARD if "\\" not in name], ids=ascii)
def test_any_key_is_that_name(given: Place, name: str) -> None:
    """An object somebody else stored under an awkward key reads under this name."""
    given.keys.put(f"{name}/{name}", b"content")
    assert os.listdir(given.path) == [name]
    assert os.listdir(given / name) == [name]
    assert (given / name / name).read_bytes() == b"content"


def test_a_name_that_is_not_utf8_is_kept_or_refused(here: Place) -> None:
    """S3 keys are UTF-8: such a name is an error of its own, not a wrong key."""
    with pytest.raises(OSError) as caught:
        (here / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    assert caught.value.errno == errno.EILSEQ
    assert here.keys.keys() == [""] or here.keys.keys() == []


def test_names_and_keys_have_a_longest_length(here: Place) -> None:
    """255 bytes of name and 1024 bytes of key, in UTF-8, are the most."""
    with pytest.raises(OSError) as caught:
        (here / ("é" * 128)).touch()
    assert caught.value.errno == errno.ENAMETOOLONG
    deep = "/".join(["d" * 200] * 4)
    (here / deep).mkdir(parents=True)
    longest = "f" * (1024 - len(f"{here.keys.prefix}{deep}/"))
    (here / deep / longest).write_bytes(b"fits")
    assert here.keys.get(f"{deep}/{longest}") == b"fits"
    with pytest.raises(OSError) as caught:
        (here / deep / f"{longest}f").touch()
    assert caught.value.errno == errno.ENAMETOOLONG


def test_a_listing_tells_the_numbers_that_stat_tells(given: Place) -> None:
    """`d_ino` is `st_ino`, of names that nobody has looked at before, and of `.` and `..`."""
    given.keys.put_many([f"f{number}" for number in range(20)])
    for key in ("marked/", "implied/below"):
        given.keys.put(key, b"")
    listed = {entry.name: entry.inode() for entry in os.scandir(given.path)}
    assert len(listed) == 22
    assert listed == {name: os.lstat(given / name).st_ino for name in listed}
    assert len({*listed.values(), given.path.stat().st_ino}) == 23
    command = ["ls", "-aif", given / "marked"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    numbers = {name: int(inode) for inode, name in map(str.split, told.splitlines())}
    assert numbers == {".": (given / "marked").stat().st_ino, "..": given.path.stat().st_ino}


def test_a_renamed_file_keeps_its_number(here: Place) -> None:
    """As log rotation and `tail -F` want it: a new file under the old name is another."""
    (here / "log").write_bytes(b"1")
    before = (here / "log").stat().st_ino
    (here / "log").rename(here / "log.1")
    (here / "log").write_bytes(b"2")
    listed = {entry.name: entry.inode() for entry in os.scandir(here.path)}
    assert listed["log.1"] == (here / "log.1").stat().st_ino == before
    assert listed["log"] == (here / "log").stat().st_ino != before


LONG = "n" * 256
WITH_A_LONG_NAME: list[tuple[Callable[..., object], tuple[object, ...]]] = [
    *((call, ()) for call in (os.stat, os.lstat, os.listdir, os.readlink, os.unlink, os.rmdir)),
    *((call, ()) for call in (os.mkdir, os.mkfifo, os.listxattr)),
    (os.open, (os.O_RDONLY,)),
    (os.open, (os.O_WRONLY | os.O_CREAT,)),
    (os.open, (os.O_WRONLY | os.O_CREAT | os.O_EXCL,)),
    (os.chmod, (0o600,)),
    (os.chown, (1, 1)),
    (os.truncate, (1,)),
    (os.utime, ()),
    (os.getxattr, ("user.x",)),
    (os.setxattr, ("user.x", b"")),
    (os.removexattr, ("user.x",)),
]


def test_no_call_takes_a_name_of_256_bytes(here: Place) -> None:
    """ENAMETOOLONG, not ENOENT: the name can't be there, nor be made."""
    found = {}
    for call, arguments in WITH_A_LONG_NAME:
        with pytest.raises(OSError) as caught:
            call(here / LONG, *arguments)
        found[call.__name__, arguments] = caught.value.errno
    assert found == dict.fromkeys(found, errno.ENAMETOOLONG)


def test_nothing_gets_a_name_of_256_bytes(here: Place) -> None:
    """Not by rename, link or symlink either."""
    (here / "f").touch()
    for call in (os.rename, os.link, os.symlink):
        with pytest.raises(OSError) as caught:
            call(here / "f", here / LONG)
        assert caught.value.errno == errno.ENAMETOOLONG
        with pytest.raises(OSError) as caught:
            call(here / LONG, here / LONG)
        assert caught.value.errno == errno.ENAMETOOLONG
    assert os.listdir(here.path) == ["f"]


@pytest.mark.one_driver
def test_longer_names_of_others_can_be_used_and_removed(
    lenient_bucket: Bucket, mounts: Mounts
) -> None:
    """They aren't made here, but nobody is stuck with them: listed, read, moved away, removed."""
    longer = "n" * 300
    for key in (longer, f"{longer}d/f"):
        lenient_bucket.put(key, b"content")
    path = mounts(lenient_bucket).path
    assert (path / longer).read_bytes() == b"content"
    assert sorted(os.listdir(path)) == [longer, f"{longer}d"]
    (path / longer).rename(path / "short")
    assert lenient_bucket.get("short") == b"content"
    shutil.rmtree(path / f"{longer}d")
    assert os.listdir(path) == ["short"]


@pytest.mark.parametrize("path", ["missing", "missing/below", "file/below"])
def test_what_is_not_there(here: Place, path: str) -> None:
    """ENOENT, or ENOTDIR below a file."""
    (here / "file").touch()
    with pytest.raises(OSError) as caught:
        (here / path).stat()
    expected = errno.ENOTDIR if path.startswith("file") else errno.ENOENT
    assert caught.value.errno == expected


def test_a_key_that_is_file_and_directory(given: Place) -> None:
    """The directory is shown, once, and what is below it can be read."""
    given.keys.put("both", b"file")
    given.keys.put("both/below", b"below")
    assert os.listdir(given.path) == ["both"]
    assert (given / "both").is_dir()
    assert (given / "both/below").read_bytes() == b"below"


NO_PATHS = ("a//b", "./a", "a/./b", "../a", "a/../b", "/a", "a/..", "//")


def test_keys_that_are_no_paths_harm_nobody(lenient_bucket: Bucket, mounts: Mounts) -> None:
    """They can't be shown; their neighbours can, and no listing fails or escapes."""
    for name in (*NO_PATHS, "fine", "a/fine"):
        lenient_bucket.put(name, b"content")
    mount = mounts(lenient_bucket)
    mount.expected.append(r"can.?t be shown|hidden|skipp")
    seen = [str(Path(top, name)) for top, _, names in os.walk(mount.path) for name in names]
    assert str(mount.path / "fine") in seen
    assert str(mount.path / "a/fine") in seen
    assert all(os.path.normpath(path) == path for path in seen)


def test_a_prefix_is_the_root(bucket: Bucket, mounts: Mounts) -> None:
    """BUCKET/PREFIX shows what is below the prefix and stores below it."""
    bucket.put("inside/old", b"old")
    bucket.put("outside", b"no")
    bucket.put("inside-not", b"no")
    root = mounts(bucket.under("inside")).path
    assert os.listdir(root) == ["old"]
    (root / "new").write_bytes(b"new")
    assert bucket.get("inside/new") == b"new"
    assert sorted(bucket.keys()) == ["inside-not", "inside/new", "inside/old", "outside"]
