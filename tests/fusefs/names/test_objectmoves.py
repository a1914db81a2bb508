"""Directory renames: complete or not at all, through failures, crashes and other writers."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from fusefs.errors import Exists, FsError, Stale, Unavailable
from fusefs.names.objectmoves import ObjectMover, resume_renames
from fusefs.names.renamejournal import Copied, RenameJournal
from fusefs.s3.conditions import IF_ABSENT
from tests.fusefs.conftest import Benches
from tests.fusefs.workbench import Workbench
from tests.proxy.exchange import on
from tests.proxy.faults import LostAnswer, Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

DOWN = Status(400, "MalformedXML")
NAMES = sorted(f"{part}/f{number}" for part in ("a", "a-b", "b") for number in range(5))


def fill(bucket: Bucket) -> None:
    """Make a directory of files, each with a content of its own."""
    for name in NAMES:
        bucket.put(f"old/{name}", name.encode())


def is_moved(bucket: Bucket) -> bool:
    """Say whether all of it is under the new name and nothing under the old one."""
    there = {name: bucket.get(f"new/{name}") for name in NAMES}
    return there == {name: name.encode() for name in NAMES} and not bucket.keys("old/")


def begin(bench: Workbench) -> tuple[ObjectMover, RenameJournal]:
    """Return what moves the directory, and the journal of it."""
    mover = bench.mover
    return mover, RenameJournal.begin(bench.journals, "old/", "new/")


def told(_: Copied) -> None:
    """Nobody has any of it open."""


def journals(bench: Workbench) -> list[Path]:
    """Return the journals there are."""
    return list(bench.journals.glob("*"))


@pytest.mark.parametrize("condition", [IF_ABSENT, None])
def test_a_lost_answer_of_a_copy_is_no_file_of_others(
    bench: Workbench, proxy: Proxy, bucket: Bucket, condition: str | None
) -> None:
    """RENAME_NOREPLACE: what the first try of the copy made is not in the way of the second."""
    bucket.put("old", b"content", {"mode": "33188"})
    mover, before = begin(bench)[0], bench.store.head("old")
    proxy.inject(LostAnswer(), on("CopyObject"))
    mover.move(before, "new", condition)
    assert bucket.keys() == ["new"]
    assert bucket.get("new") == b"content"


def test_a_copy_never_replaces_what_others_made(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """RENAME_NOREPLACE with a lost answer and a stranger's file: both stay."""
    bucket.put("old", b"content")
    mover, before = begin(bench)[0], bench.store.head("old")
    bucket.put("new", b"theirs")
    proxy.inject(LostAnswer(), on("CopyObject"))
    with pytest.raises(Stale):
        mover.move(before, "new", IF_ABSENT)
    assert [bucket.get(key) for key in ("old", "new")] == [b"content", b"theirs"]


def test_one_copy_and_one_delete_for_each_key(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """All keys move; two listings, and the journal goes in the end."""
    fill(bucket)
    mover, journal = begin(bench)
    with proxy.counting() as seen:
        mover.move_all(journal, told)
    assert is_moved(bucket)
    assert seen.operations == {"ListObjectsV2": 2, "CopyObject": 15, "DeleteObject": 15}
    assert journals(bench) == []


def test_copies_are_pinned_and_replace_nothing(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """Each copy names the version it copies, and wants its target to be absent."""
    fill(bucket)
    mover, journal = begin(bench)
    mover.move_all(journal, told)
    for copy in proxy.requests.of("CopyObject"):
        assert copy.condition == "If-None-Match: *"
        assert "x-amz-copy-source-if-match" in copy.headers


def test_a_failed_copy_leaves_the_source_complete(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """The error is told, the copies made so far are taken back, and another try succeeds."""
    fill(bucket)
    proxy.inject(DOWN, on("CopyObject", "new/b/f3"), times=2)
    mover, journal = begin(bench)
    with pytest.raises(Unavailable):
        mover.move_all(journal, told)
    assert sorted(bucket.keys()) == [f"old/{name}" for name in NAMES]
    assert journals(bench) == []
    mover.move_all(begin(bench)[1], told)
    assert is_moved(bucket)


def test_a_lost_answer_is_no_obstacle(bench: Workbench, proxy: Proxy, bucket: Bucket) -> None:
    """A copy that was made, its answer lost, is known for ours; a delete done twice is done."""
    fill(bucket)
    proxy.inject(LostAnswer(), on("CopyObject", "new/a/f1"))
    proxy.inject(LostAnswer(), on("DeleteObject", "old/b/f2"))
    mover, journal = begin(bench)
    mover.move_all(journal, told)
    assert is_moved(bucket)


def test_a_key_that_others_made_is_not_overwritten(bench: Workbench, bucket: Bucket) -> None:
    """Somebody creates a file in the new directory meanwhile: it stays, and so does the source."""
    fill(bucket)
    bucket.put("new/b/f3", b"theirs")
    mover, journal = begin(bench)
    with pytest.raises(Exists):
        mover.move_all(journal, told)
    assert bucket.get("new/b/f3") == b"theirs"
    assert sorted(bucket.keys("old/")) == [f"old/{name}" for name in NAMES]
    assert bucket.keys("new/") == ["new/b/f3"]


def test_what_others_write_meanwhile_is_not_deleted(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """A file replaced after its copy, and one added, stay under the old name."""
    fill(bucket)
    mover, journal = begin(bench)
    mover._copy_all(journal, resumed=False)
    bucket.put("old/a/f1", b"newer")
    bucket.put("old/b/added", b"added")
    journal.note_deleting()
    mover.move_all(journal, told)
    assert bucket.get("old/a/f1") == b"newer"
    assert bucket.get("old/b/added") == b"added"
    assert bucket.keys("old/") == ["old/a/f1", "old/b/added"]


def kill_while(bench: Workbench, proxy: Proxy, operation: str, after: int) -> None:
    """Break off a rename as a kill does: no undo, no more requests, the journal as it is."""
    mover, journal = begin(bench)
    left = iter(range(after))
    stop = proxy.inject(
        DOWN, lambda seen: seen.operation == operation and next(left, None) is None, times=None
    )
    with pytest.raises(FsError):
        if operation == "CopyObject":
            mover._copy_all(journal, resumed=False)
        mover.move_all(journal, told)
    stop.stop()


@pytest.mark.parametrize("after", [0, 1, 7, 14])
@pytest.mark.parametrize("operation", ["CopyObject", "DeleteObject"])
def test_the_next_start_finishes(
    bench: Workbench, proxy: Proxy, bucket: Bucket, operation: str, after: int
) -> None:
    """Killed after any number of copies or deletes: then everything is moved."""
    fill(bucket)
    kill_while(bench, proxy, operation, after)
    with bench.again() as later:
        resume_renames(later.mover, later.staging.dirty, later.journals)
        assert journals(later) == []
    assert is_moved(bucket)


def test_the_next_start_deletes_nothing_without_its_copy(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """A rename failed in its deletes, and somebody removed the copies: the source stays."""
    fill(bucket)
    kill_while(bench, proxy, "DeleteObject", 0)
    for key in bucket.keys("new/"):
        bucket.delete(key)
    with bench.again() as later:
        resume_renames(later.mover, later.staging.dirty, later.journals)
    assert sorted(bucket.keys()) == [f"old/{name}" for name in NAMES]


def test_a_copy_that_was_not_noted_is_taken_for_done(bench: Workbench, bucket: Bucket) -> None:
    """Killed between a copy and its note: the next process doesn't stumble over it."""
    fill(bucket)
    mover, journal = begin(bench)
    mover._copy_all(journal, resumed=False)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:4]) + lines[4][:9])
    with bench.again() as later:
        resume_renames(later.mover, later.staging.dirty, later.journals)
    assert is_moved(bucket)


def test_a_resumed_rename_never_overwrites(bench: Workbench, bucket: Bucket) -> None:
    """A stranger's file under a new name: told, kept, and its source is kept as well."""
    fill(bucket)
    begin(bench)
    bucket.put("new/a/f0", b"theirs")
    with bench.again() as later:
        resume_renames(later.mover, later.staging.dirty, later.journals)
    assert bucket.get("new/a/f0") == b"theirs"
    assert bucket.get("old/a/f0") == b"a/f0"
    assert len(bucket.keys("new/")) == len(NAMES)


def test_unsent_changes_follow_a_resumed_rename(bench: Workbench, bucket: Bucket) -> None:
    """A changed file of the killed process is committed under its new name."""
    fill(bucket)
    body = bench.open("old/b/f2")
    body.write(0, b"changed")
    begin(bench)
    with bench.again() as later:
        [left] = later.restored()
        resume_renames(later.mover, later.staging.dirty, later.journals)
        left.commit()
    assert bucket.get("new/b/f2") == b"changed"
    assert not bucket.keys("old/")


def test_an_unreachable_store_leaves_the_journal(
    benches: Benches, proxy: Proxy, bucket: Bucket
) -> None:
    """What can't be finished at one start is finished at a later one."""
    bench = benches()
    fill(bucket)
    begin(bench)
    stop = proxy.inject(DOWN, on("CopyObject"), times=None)
    with bench.again() as later:
        resume_renames(later.mover, later.staging.dirty, later.journals)
        assert len(journals(later)) == 1
        stop.stop()
        with later.again() as last:
            resume_renames(last.mover, last.staging.dirty, last.journals)
    assert is_moved(bucket)


def test_the_journal_says_what_was_done(bench: Workbench, bucket: Bucket) -> None:
    """Readable by a person with nothing but `cat`."""
    bucket.put("old/f", b"x")
    mover, journal = begin(bench)
    mover._copy_all(journal, resumed=False)
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert lines[0] == {"version": 1, "old": "old/", "new": "new/"}
    assert lines[1][:2] == ["c", "f"]


@pytest.mark.parametrize(
    "line", [b'{"version": 9, "old": "old/", "new": "new/"}\n', b'["z"]\n', b"[1]\n"]
)
def test_a_journal_that_cant_be_understood_is_left_and_reported(
    bench: Workbench, bucket: Bucket, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    """An unknown version or step: nothing is copied or deleted, the file stays as it is."""
    fill(bucket)
    _, journal = begin(bench)
    journal.note_deleting()
    journal.leave()
    first = b"" if line.startswith(b"{") or line == b"[1]\n" else journal.path.read_bytes()
    journal.path.write_bytes(first + line)
    resume_renames(bench.mover, bench.staging.dirty, bench.journals)
    assert "an interrupted rename is not finished" in caplog.text
    assert RenameJournal.find(bench.journals, "other/", "new/") is None
    assert journal.path.read_bytes() == first + line
    assert sorted(bucket.keys()) == [f"old/{name}" for name in NAMES]


def test_a_journal_without_a_version_is_carried_out(bench: Workbench, bucket: Bucket) -> None:
    """Release 0.1.0 wrote none."""
    fill(bucket)
    bench.journals.mkdir()
    (bench.journals / "x.json").write_bytes(b'{"old": "old/", "new": "new/"}\n')
    resume_renames(bench.mover, bench.staging.dirty, bench.journals)
    assert is_moved(bucket)
    assert journals(bench) == []


def test_a_journal_begins_with_its_version(bench: Workbench) -> None:
    """Whoever reads it looks there first."""
    _, journal = begin(bench)
    assert json.loads(journal.path.read_bytes())["version"] == 1
    journal.end()


def test_a_rename_ends_though_its_journal_was_removed(bench: Workbench, bucket: Bucket) -> None:
    """The cache directory was removed in the middle: the copies are known all the same."""
    fill(bucket)
    mover, journal = begin(bench)
    mover._copy_all(journal, resumed=False)
    shutil.rmtree(bench.journals)
    assert sorted(entry.suffix for entry in journal.entries()) == NAMES
    journal.note_deleting()
    mover._delete_all(journal, resumed=False)
    journal.end()
    assert is_moved(bucket)


def test_a_directory_without_a_place_for_its_journal_is_not_renamed(
    bench: Workbench, bucket: Bucket
) -> None:
    """EIO, not ENOENT: the directory itself is there."""
    shutil.rmtree(bench.journals.parent)
    with pytest.raises(OSError, match="was removed") as caught:
        RenameJournal.begin(bench.journals, "old/", "new/")
    assert caught.value.errno == errno.EIO
