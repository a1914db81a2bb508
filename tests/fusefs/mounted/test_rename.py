"""Rename: content, attributes and errnos of rename(2)."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Place
from tests.fusefs.mounted.test_read import MIB, content

AT_FDCWD = -100
RENAME_NOREPLACE = 1


@pytest.mark.parametrize("size", [0, 100, 6 * MIB, 20 * MIB])
def test_a_file_moves_with_all_it_has(given: Place, size: int) -> None:
    """Content, mode, mtime, foreign metadata and type; the old name is gone."""
    metadata = {"mode": "33152", "mtime": "1500000000", "mine": "kept"}
    given.keys.put("old", content(size), metadata, content_type="text/x-special")
    os.rename(given / "old", given / "new")
    assert given.keys.get("new") == content(size)
    assert given.keys.metadata("new") | metadata == given.keys.metadata("new")
    assert given.keys.head("new")["ContentType"] == "text/x-special"
    assert "old" not in given.keys
    assert not (given / "old").exists()
    assert (given / "new").stat().st_mode & 0o777 == 0o600


def test_a_rename_changes_ctime_and_nothing_else(here: Place) -> None:
    """Of a file it is stored, as s3fs does it; of a directory this mount shows it."""
    for name in ("f", "d"):
        if name == "f":
            (here / name).write_bytes(b"content")
        else:
            (here / name).mkdir()
        os.utime(here / name, ns=(1_111_111_111_000_000_001, 1_222_222_222_000_000_001))
        before = (here / name).stat()
        (here / name).rename(here / f"{name}-new")
        after = (here / f"{name}-new").stat()
        assert after.st_ctime_ns > before.st_ctime_ns
        same = ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_atime_ns", "st_ino")
        assert [getattr(after, field) for field in same] == [
            getattr(before, field) for field in same
        ]
    stored = here.keys.metadata("f-new")
    assert float(stored["ctime"]) == pytest.approx((here / "f-new").stat().st_ctime, abs=1e-3)
    assert stored["mtime"] == "1222222222.000000001"


def test_a_file_without_attributes_stays_so(given: Place) -> None:
    """An object of others is copied as it is."""
    given.keys.put("f", b"content", {"mine": "kept"})
    (given / "f").rename(given / "g")
    assert given.keys.metadata("g") == {"mine": "kept"}


def test_onto_an_existing_file(here: Place) -> None:
    """The target is replaced, as editors rely on."""
    (here / "target").write_bytes(b"old")
    (here / "temporary").write_bytes(b"new")
    os.rename(here / "temporary", here / "target")
    assert here.keys.get("target") == b"new"
    assert (here / "target").read_bytes() == b"new"
    assert os.listdir(here.path) == ["target"]


def test_an_open_file_follows_its_name(here: Place) -> None:
    """What a writer writes after the rename is under the new name, and only there."""
    with (here / "old").open("wb", buffering=0) as file:
        file.write(b"before ")
        os.rename(here / "old", here / "new")
        file.write(b"after")
    assert here.keys.get("new") == b"before after"
    assert "old" not in here.keys


def test_an_open_reader_reads_on(given: Place) -> None:
    """A reader keeps its file through a rename of it."""
    given.keys.put("old", content(9 * MIB))
    with (given / "old").open("rb", buffering=0) as file:
        start = file.read(1000)
        os.rename(given / "old", given / "new")
        rest = b"".join(iter(lambda: file.read(MIB), b""))
    assert start + rest == content(9 * MIB)


def test_a_directory_moves_with_all_below_it(here: Place) -> None:
    """Every key below gets the new prefix; empty directories and markers come along."""
    (here / "old/deep/empty").mkdir(parents=True)
    for number in range(40):
        (here / f"old/deep/f{number}").write_bytes(b"%d" % number)
    (here / "old/top").write_bytes(b"top")
    os.rename(here / "old", here / "new")
    assert not (here / "old").exists()
    assert not here.keys.keys("old")
    assert (here / "new/deep/empty").is_dir()
    assert {here.keys.get(f"new/deep/f{number}") for number in range(40)} == {
        b"%d" % number for number in range(40)
    }
    assert sorted(os.listdir(here / "new")) == ["deep", "top"]


def test_a_directory_with_an_open_dirty_file(here: Place) -> None:
    """A file that is being written moves with its directory."""
    (here / "old").mkdir()
    with (here / "old/f").open("wb", buffering=0) as file:
        file.write(b"one ")
        os.rename(here / "old", here / "new")
        file.write(b"two")
    assert here.keys.get("new/f") == b"one two"
    assert not here.keys.keys("old")


def test_an_implied_directory_moves(given: Place) -> None:
    """A directory that only exists by the keys below it."""
    given.keys.put("old/deep/f", b"content")
    os.rename(given / "old", given / "new")
    assert given.keys.get("new/deep/f") == b"content"
    assert not given.keys.keys("old")


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("missing", "x", errno.ENOENT),
        ("file", "full", errno.EISDIR),
        ("full", "file", errno.ENOTDIR),
        ("empty", "full", errno.ENOTEMPTY),
        ("full", "full/below", errno.EINVAL),
        ("file", "missing/x", errno.ENOENT),
        ("file", "file/x", errno.ENOTDIR),
    ],
)
def test_errnos(here: Place, source: str, target: str, error: int) -> None:
    """What rename(2) says for each impossible pair; nothing changes."""
    (here / "full").mkdir()
    (here / "empty").mkdir()
    for name in ("file", "full/inside"):
        (here / name).write_bytes(b"content")
    before = here.keys.keys()
    with pytest.raises(OSError) as caught:
        os.rename(here / source, here / target)
    assert caught.value.errno == error
    assert here.keys.keys() == before


def test_a_directory_replaces_an_empty_one(here: Place) -> None:
    """Onto an empty directory is allowed."""
    (here / "old").mkdir()
    (here / "old/f").write_bytes(b"content")
    (here / "empty").mkdir()
    os.rename(here / "old", here / "empty")
    assert here.keys.get("empty/f") == b"content"
    assert os.listdir(here.path) == ["empty"]


def test_onto_itself_changes_nothing(here: Place) -> None:
    """The same name twice succeeds and keeps the file."""
    (here / "f").write_bytes(b"content")
    os.rename(here / "f", here / "f")
    assert here.keys.get("f") == b"content"


def rename_noreplace(source: Path, target: Path) -> None:
    """Call renameat2(2), which os.rename doesn't reach; OSError as there."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(source), os.fsencode(target)
    if libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def test_noreplace_never_replaces(here: Place) -> None:
    """RENAME_NOREPLACE: EEXIST, or EINVAL on a driver that can't see flags; both files stay."""
    (here / "a").write_bytes(b"a")
    (here / "b").write_bytes(b"b")
    with pytest.raises(OSError) as caught:
        rename_noreplace(here / "a", here / "b")
    assert caught.value.errno in (errno.EEXIST, errno.EINVAL)
    assert (here.keys.get("a"), here.keys.get("b")) == (b"a", b"b")
