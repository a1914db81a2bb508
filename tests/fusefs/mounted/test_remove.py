"""Making and removing: mkdir, rmdir, unlink, symlink and the names they leave."""

from __future__ import annotations

import errno
import io
import os
import shutil

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.ours import OurMount
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket


def test_mkdir_makes_a_marker(here: Place) -> None:
    """A directory is the empty object `name/`."""
    (here / "dir").mkdir()
    assert here.keys.get("dir/") == b""
    assert (here / "dir").is_dir()
    with pytest.raises(FileExistsError):
        (here / "dir").mkdir()


def test_a_marker_has_the_mode_and_owner_of_its_maker(
    lenient_bucket: Bucket, mounts: Mounts
) -> None:
    """Stored as s3fs stores it: decimal, with type bits."""
    old = os.umask(0o022)
    (mounts(lenient_bucket).path / "dir").mkdir(mode=0o770)
    os.umask(old)
    stored = lenient_bucket.metadata("dir/")
    assert int(stored["mode"]) == 0o040750
    assert (int(stored["uid"]), int(stored["gid"])) == (os.getuid(), os.getgid())


def test_rmdir_removes_the_marker(here: Place) -> None:
    """An empty directory goes, one with anything below stays."""
    (here / "dir").mkdir()
    (here / "dir/f").touch()
    with pytest.raises(OSError) as caught:
        (here / "dir").rmdir()
    assert caught.value.errno == errno.ENOTEMPTY
    (here / "dir/f").unlink()
    (here / "dir").rmdir()
    assert not here.keys.keys("dir")
    assert not (here / "dir").exists()


def test_a_directory_stays_when_its_last_file_goes(given: Place) -> None:
    """Also one that had no marker: POSIX directories don't vanish."""
    given.keys.put("implied/f", b"x")
    (given / "implied/f").unlink()
    assert os.listdir(given / "implied") == []
    assert os.listdir(given.path) == ["implied"]


def test_unlink(here: Place) -> None:
    """The object is deleted, the name is gone, again is ENOENT, a directory is EISDIR."""
    (here / "f").write_bytes(b"x")
    (here / "f").unlink()
    assert "f" not in here.keys
    with pytest.raises(FileNotFoundError):
        (here / "f").unlink()
    (here / "dir").mkdir()
    with pytest.raises(IsADirectoryError):
        (here / "dir").unlink()


@pytest.mark.parametrize("size", [0, 100_000, 3 * MIB])
def test_a_removed_file_reads_on_while_open(given: Place, size: int) -> None:
    """unlink leaves open descriptors of a small file that is cached their content."""
    given.keys.put("f", content(size))
    with (given / "f").open("rb", buffering=0) as file:
        if size > 128 << 10:  # what the open brings along
            assert b"".join(iter(lambda: file.read(MIB), b"")) == content(size)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        (given / "f").unlink()
        assert not (given / "f").exists()
        file.seek(0)
        assert b"".join(iter(lambda: file.read(MIB), b"")) == content(size)
    assert "f" not in given.keys


LARGE = 40 * MIB


@pytest.fixture
def small_cache(mounts: Mounts, bucket: Bucket, proxy: Proxy) -> OurMount:
    """A mount with a cache of less than half of `model`, which is in its bucket, and `new`."""
    bucket.put("model", content(LARGE))
    bucket.put("new", b"new")
    return mounts(bucket, "--cache-size", "16Mi", endpoint=proxy.endpoint)


def end(file: io.FileIO) -> int:
    """Read the end of `model`; return the errno of that."""
    with pytest.raises(OSError) as caught:
        os.pread(file.fileno(), MIB, LARGE - MIB)
    return caught.value.errno or 0


@pytest.mark.one_driver
def test_removing_an_open_file_larger_than_the_cache(
    small_cache: OurMount, bucket: Bucket, proxy: Proxy
) -> None:
    """One DELETE and nothing else; its reader has what is cached, and then ESTALE."""
    path = small_cache.path / "model"
    with path.open("rb", buffering=0) as file:
        start = file.read(1000)
        proxy.settle()
        with proxy.counting() as seen:
            path.unlink()
        assert [each.operation for each in seen] == ["DeleteObject"]
        assert os.pread(file.fileno(), 1000, 0) == start == content(LARGE)[:1000]
        assert end(file) == errno.ESTALE
        os.fchmod(file.fileno(), 0o600)
        assert os.fstat(file.fileno()).st_size == LARGE
    assert "model" not in bucket


@pytest.mark.one_driver
def test_replacing_an_open_file_larger_than_the_cache(
    small_cache: OurMount, bucket: Bucket, proxy: Proxy
) -> None:
    """One copy and one DELETE; who has the old one open never reads the new one's bytes."""
    path = small_cache.path / "model"
    with path.open("rb", buffering=0) as file:
        start = file.read(1000)
        proxy.settle()
        with proxy.counting() as seen:
            (small_cache.path / "new").rename(path)
        assert not seen.of("GetObject", "model")
        assert os.pread(file.fileno(), 1000, 0) == start
        assert end(file) == errno.ESTALE
    assert path.read_bytes() == b"new" == bucket.get("model")


@pytest.mark.one_driver
def test_a_removed_file_keeps_what_was_changed(small_cache: OurMount, bucket: Bucket) -> None:
    """Of an object larger than the cache; it is written on, and nothing of it comes back.

    A page of the kernel's that is only changed in part is ESTALE as a whole.
    """
    path, page = small_cache.path / "model", os.sysconf("SC_PAGE_SIZE")
    with path.open("rb+", buffering=0) as file:
        file.write(b"c" * page)
        path.unlink()
        assert os.pread(file.fileno(), page, 0) == b"c" * page
        os.pwrite(file.fileno(), b"m" * page, LARGE - MIB)
        assert os.pread(file.fileno(), page, LARGE - MIB) == b"m" * page
        os.fsync(file.fileno())
    assert "model" not in bucket
    assert "model" not in os.listdir(small_cache.path)


def test_a_removed_file_that_was_written_never_comes_back(here: Place) -> None:
    """A temporary file: created, unlinked, used, closed; nothing is stored."""
    with (here / "f").open("wb+", buffering=0) as file:
        file.write(b"scratch")
        (here / "f").unlink()
        file.seek(0)
        assert file.read() == b"scratch"
        file.write(b" more")
    assert "f" not in here.keys
    assert os.listdir(here.path) == []


def test_a_new_file_under_the_name_of_a_removed_open_one(here: Place) -> None:
    """Old readers keep the old content; the name has the new one."""
    (here / "f").write_bytes(b"old")
    with (here / "f").open("rb", buffering=0) as old:
        (here / "f").unlink()
        (here / "f").write_bytes(b"new!")
        assert old.read() == b"old"
    assert here.keys.get("f") == b"new!"


def test_rm_rf(given: Place) -> None:
    """A tree is removed whole, markers and implied directories included."""
    for number in range(60):
        given.keys.put(f"tree/{number % 7}/{number}", b"x")
    (given / "tree/made").mkdir()
    shutil.rmtree(given / "tree")
    assert not given.keys.keys("tree")
    assert os.listdir(given.path) == []


@pytest.mark.parametrize("target", ["f", "../elsewhere", "/absolute/path", "dangling ü", "x" * 900])
def test_symlink(here: Place, target: str) -> None:
    """A symlink is an object with the target as its body and a link's mode."""
    (here / "link").symlink_to(target)
    assert os.readlink(here / "link") == target
    assert here.keys.get("link") == target.encode()
    assert int(here.keys.metadata("link")["mode"]) & 0o170000 == 0o120000
    assert (here / "link").lstat().st_size == len(target.encode())


def test_a_symlink_is_followed(here: Place) -> None:
    """Reading and writing through a link reach the file."""
    (here / "f").write_bytes(b"content")
    (here / "link").symlink_to("f")
    assert (here / "link").read_bytes() == b"content"
    (here / "link").write_bytes(b"changed")
    assert here.keys.get("f") == b"changed"
    assert (here / "link").is_symlink()


def test_no_hard_links(here: Place) -> None:
    """EPERM, which tools understand."""
    (here / "f").touch()
    with pytest.raises(PermissionError):
        os.link(here / "f", here / "g")
