"""After a power failure: what may not be what was written is kept, reported and never uploaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs.disk.boot import boot_id
from fusefs.disk.space import Space
from fusefs.errors import FsError
from fusefs.write.staged import Staged
from fusefs.write.stagedjournal import Record
from tests.fusefs.conftest import Benches
from tests.fusefs.workbench import Workbench
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

RECORD = Record("key", "*", None, 0)
DATA = os.urandom(3_000_000)


def space(path: Path) -> Space:
    return Space(path, 1 << 30, 0)


def staged(path: Path, *, sealed: bool) -> Staged:
    """Return a file with bytes, a hole and a tail."""
    file = Staged(path / "x", RECORD, space(path))
    file.write(0, DATA)
    file.write(5_000_000, b"tail")
    if sealed:
        file.seal()
    return file


def reboot(path: Path) -> None:
    """Make what is there that of an earlier boot."""
    for log in path.glob("**/*.log"):
        log.write_bytes(log.read_bytes().replace(boot_id().encode(), b"earlier"))


def doubt(path: Path) -> str:
    """Return what the next process says of the file."""
    again = Staged.restore(path / "x", space(path))
    assert again is not None
    try:
        return again.doubt()
    finally:
        again.close()


def test_a_killed_process_loses_no_trust(tmp_path: Path) -> None:
    """In the same boot the page cache has all that was written, sealed or not."""
    staged(tmp_path, sealed=False).close()
    assert doubt(tmp_path) == ""


def test_a_sealed_file_is_trusted_after_another_boot(tmp_path: Path) -> None:
    """A commit had failed, all was on the disk, and the checksums hold. Once more after the next
    boot, for the seal stays."""
    staged(tmp_path, sealed=True).close()
    for _ in range(2):
        reboot(tmp_path)
        assert doubt(tmp_path) == ""


def test_a_file_that_was_being_changed_is_not(tmp_path: Path) -> None:
    """Lines of its journal may be lost, also where all bytes of the others are there."""
    staged(tmp_path, sealed=False).close()
    reboot(tmp_path)
    assert "was being changed" in doubt(tmp_path)


CHANGES: list[Callable[[Staged], None]] = [
    lambda file: file.write(10, b"abc"),
    lambda file: file.write(9_000_000, b"abc"),
    lambda file: file.zero(0, 10),
    lambda file: file.resize(7),
    lambda file: file.resize(9_000_000),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_breaks_the_seal(tmp_path: Path, change: Callable[[Staged], None]) -> None:
    """Until the next one."""
    file = staged(tmp_path, sealed=True)
    change(file)
    reboot(tmp_path)
    assert "was being changed" in doubt(tmp_path)
    file.seal()
    assert doubt(tmp_path) == ""
    file.close()


def test_zeros_in_place_of_bytes_are_recognised(tmp_path: Path) -> None:
    """The journal reached the disk, a page of the data didn't."""
    staged(tmp_path, sealed=True).close()
    with (tmp_path / "x.data").open("r+b") as data:
        data.seek(1_500_000)
        data.write(bytes(4096))
    reboot(tmp_path)
    assert "not those that were written" in doubt(tmp_path)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_data_file_that_is_too_short_is_recognised(tmp_path: Path, sealed: bool) -> None:
    """In any boot."""
    staged(tmp_path, sealed=sealed).close()
    os.truncate(tmp_path / "x.data", 4_000_000)
    assert "not on the disk" in doubt(tmp_path)


@pytest.mark.parametrize(("age", "says"), [(0.0, ""), (1e9, "was being changed")])
def test_a_file_of_release_0_1_0_has_the_boot_of_its_time(
    tmp_path: Path, age: float, says: str
) -> None:
    """Its journal names no boot."""
    staged(tmp_path, sealed=False).close()
    log = tmp_path / "x.log"
    new = b'"version": 2, "boot": "' + boot_id().encode() + b'"'
    log.write_bytes(log.read_bytes().replace(new, b'"version": 1'))
    os.utime(log, (0, log.stat().st_mtime - age))
    assert says in doubt(tmp_path)


@pytest.fixture
def left(benches: Benches, bucket: Bucket, proxy: Proxy) -> Workbench:
    """A process that ended with an object, and a change of it that it could not upload."""
    bucket.put("f", b"good" * 1000)
    bench = benches()
    body = bench.open("f")
    body.write(0, b"bad!")
    with proxy.refusing(), pytest.raises(FsError):
        body.commit()
    return bench


def test_what_a_failed_commit_left_is_uploaded_after_another_boot(
    left: Workbench, bucket: Bucket
) -> None:
    """The store was away when the machine went down in good order: nothing is lost."""
    reboot(left.staging.directory)
    for body in left.again().restored():
        body.commit()
    assert bucket.get("f") == b"bad!" + b"good" * 999


def test_what_was_damaged_never_replaces_the_object(
    left: Workbench, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """Its bytes go to the conflicts, where the log says."""
    (data,) = left.staging.directory.glob("*.data")
    data.write_bytes(bytes(4))
    reboot(left.staging.directory)
    bench = left.again()
    assert bench.restored() == []
    assert bucket.get("f") == b"good" * 1000
    assert "may have damaged are kept" in caplog.text
    assert sorted(path.suffix for path in bench.staging.conflicts.iterdir()) == [".data", ".log"]
    assert os.listdir(bench.staging.directory) == []
