"""Committing: what a failure at any point leaves in the bucket, on the disk and for the caller."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fusefs.counters import Count
from fusefs.errors import Exists, FsError, NoSpace, Stale, Unavailable
from tests.fusefs.conftest import Benches
from tests.fusefs.workbench import MIB, Workbench, read
from tests.proxy.exchange import on
from tests.proxy.faults import LostAnswer, ResetUpload, Stall, Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

DOWN = Status(400, "MalformedXML")  # a refusal that boto3 doesn't try again


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that differ from block to block."""
    block = bytes((seed * 31 + number * 7) % 251 for number in range(4093))
    return (block * (size // len(block) + 1))[:size]


def test_a_small_file_is_one_put(bench: Workbench, proxy: Proxy) -> None:
    """New content of up to the threshold costs one conditional PUT with its checksum."""
    body = bench.new("f")
    body.write(0, b"content")
    with proxy.counting() as seen:
        assert body.commit()
    assert seen.operations == {"PutObject": 1}
    assert seen[0].condition == "If-None-Match: *"
    assert "x-amz-checksum-crc32" in seen[0].headers
    assert not body.dirty


@pytest.mark.parametrize("size", [100, 2 * MIB])
def test_what_was_staged_becomes_the_cached_content(
    bench: Workbench, proxy: Proxy, size: int
) -> None:
    """Its checksums, too: nobody asks S3 for it."""
    body = bench.new("f")
    body.write(0, content(size))
    body.commit()
    assert not list(bench.staging.directory.iterdir())
    with bench.again() as later, proxy.counting() as seen:
        etag = later.store.head("f").etag
        assert later.cache.whole("f", etag)
        assert read(later.open("f")) == content(size)
    assert "GetObject" not in seen.operations


def test_a_large_file_is_written_to_the_disk_once(bench: Workbench) -> None:
    """The staged file is the cached one; a small file is copied among others, and deleted."""
    body = bench.new("f")
    body.write(0, content(2 * MIB))
    [staged] = bench.staging.directory.glob("*.data")
    written = staged.stat().st_ino
    body.commit()
    [cached] = bench.cache.root.rglob("*.data")
    assert cached.stat().st_ino == written


def test_a_failed_upload_keeps_the_data_for_another_try(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """The caller gets the error, the bytes stay readable, and the next commit brings them."""
    proxy.inject(DOWN, on("PutObject"), times=2)
    body = bench.new("f")
    body.write(0, b"content")
    with pytest.raises(Unavailable):
        body.commit()
    assert body.dirty
    assert body.retry.last_error
    assert read(body) == b"content"
    assert body.commit()
    assert bucket.get("f") == b"content"
    assert not body.retry.last_error


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("size", [0, 100, 12 * MIB])
def test_a_lost_answer_is_no_conflict(
    benches: Benches, proxy: Proxy, bucket: Bucket, stored: bool, size: int
) -> None:
    """An upload that arrived, its answer lost, is known for ours: with attributes or without."""
    last = "CompleteMultipartUpload" if size > MIB else "PutObject"
    proxy.inject(LostAnswer(), on(last))
    body = benches(stored=stored).new("f")
    body.write(0, content(size)) if size else body.resize(0)
    body.commit()
    assert bucket.get("f") == content(size)
    assert body.etag == bucket.etag("f").strip('"')


def test_a_change_after_a_lost_answer_is_no_conflict(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """Our earlier try, found in the bucket by a later commit, is what that one changes."""
    proxy.inject(LostAnswer(), on("PutObject"), times=3)
    body = bench.new("f")
    body.write(0, b"first")
    with pytest.raises(FsError):
        body.commit()
    assert bucket.get("f") == b"first"
    body.write(5, b" second")
    body.commit()
    assert bucket.get("f") == b"first second"


@pytest.mark.parametrize("stored", [True, False])
def test_a_crash_between_store_and_disk_is_no_conflict(
    benches: Benches, proxy: Proxy, bucket: Bucket, stored: bool
) -> None:
    """Killed when the upload had arrived and nobody knew: the next process knows it for ours."""
    bucket.put("f", b"old")
    bench = benches(stored=stored)
    proxy.inject(LostAnswer(), on("PutObject"), times=None)
    body = bench.open("f")
    body.write(0, b"new content")
    proxy.inject(DOWN, on("HeadObject"), times=None)
    with pytest.raises(FsError):
        body.commit()
    proxy.heal()
    with bench.again() as later:
        [left] = later.restored()
        left.commit()
        assert bucket.get("f") == b"new content"
        assert not (later.staging.conflicts).exists()


def test_a_lost_answer_leaves_the_rest_of_a_file_readable(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """What wasn't changed is read from, and copied of, the object that our unheard try made."""
    old = content(20 * MIB)
    bucket.put("f", old)
    body = bench.open("f")
    body.write(0, b"first")
    proxy.inject(LostAnswer(), on("CompleteMultipartUpload"), times=None)
    proxy.inject(DOWN, on("HeadObject"), times=None)
    with pytest.raises(FsError):
        body.commit()
    proxy.heal()
    assert read(body, 12 * MIB, 10) == old[12 * MIB :][:10]
    body.write(8 * MIB, b"second")
    body.commit()
    assert bucket.get("f") == b"first" + old[5 : 8 * MIB] + b"second" + old[8 * MIB + 6 :]


def test_a_change_after_a_lost_answer_outlives_its_process(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """A try that arrived unheard of isn't taken for what was written over it afterwards."""
    proxy.inject(LostAnswer(), on("PutObject"), times=3)
    body = bench.new("f")
    body.write(0, b"first")
    with pytest.raises(FsError):
        body.commit()
    body.write(0, b"other")
    with bench.again() as later:
        [left] = later.restored()
        left.commit()
    assert bucket.get("f") == b"other"


def test_an_edit_in_place_outlives_its_process(bench: Workbench, bucket: Bucket) -> None:
    """Killed with bytes replaced, none added: the object of before isn't taken for the change."""
    body = bench.new("f")
    body.write(0, b"first")
    body.commit()
    before = bucket.metadata("f")
    body.write(0, b"other")
    with bench.again() as later:
        [left] = later.restored()
        left.commit()
    assert bucket.get("f") == b"other"
    assert bucket.metadata("f")["mtime"] != before["mtime"]


def test_the_loser_of_a_race_keeps_its_bytes(bench: Workbench, bucket: Bucket) -> None:
    """ESTALE, the winner's object untouched, our bytes in conflicts/ with the log beside them."""
    bucket.put("f", b"old")
    body = bench.open("f")
    body.write(0, b"ours")
    bucket.put("f", b"theirs")
    with pytest.raises(Stale) as told:
        body.commit()
    [kept] = bench.staging.conflicts.glob("*.data")
    assert kept.read_bytes() == b"ours"
    assert str(kept) in str(told.value)
    assert kept.with_suffix(".log").exists()
    assert bucket.get("f") == b"theirs"
    assert bench.staging.dirty.all() == []


def test_a_lost_conflict_is_told_to_all_later_calls(bench: Workbench, bucket: Bucket) -> None:
    """Whoever goes on writing or syncing that open file is told again."""
    bucket.put("f", b"old")
    body = bench.open("f")
    body.write(0, b"ours")
    bucket.delete("f")
    for call in (body.commit, body.commit, lambda: body.write(0, b"x")):
        with pytest.raises(Stale):
            call()


def test_overwrite_wins_over_a_deletion_and_a_replacement(benches: Benches, bucket: Bucket) -> None:
    """`--on-conflict overwrite`: a completely written file replaces whatever is there."""
    bench = benches(overwrites=True)
    for change in (lambda: bucket.put("f", b"theirs"), lambda: bucket.delete("f")):
        bucket.put("f", b"old")
        body = bench.open("f")
        body.resize(0)
        body.write(0, b"ours")
        change()
        body.commit()
        assert bucket.get("f") == b"ours"


def test_exclusive_creation_has_one_winner(benches: Benches, bucket: Bucket) -> None:
    """Two mounts create one name with O_EXCL: the second is told EEXIST and leaves nothing."""
    other = benches("two")
    first, second = benches("one").new("f"), other.new("f")
    first.commit(exclusive=True)
    with pytest.raises(Exists):
        second.commit(exclusive=True)
    assert other.staging.dirty.all() == []
    assert list(other.staging.directory.iterdir()) == []


def test_a_failed_exclusive_creation_is_not_made_later(bench: Workbench, proxy: Proxy) -> None:
    """The open failed, so the file must not appear by a retry."""
    proxy.inject(DOWN, on("PutObject"), times=2)
    body = bench.new("f")
    with pytest.raises(Unavailable):
        body.commit(exclusive=True)
    assert bench.staging.dirty.all() == []


def test_readers_go_on_while_a_commit_replaces_the_object(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """A read that meets our own new version in the bucket is answered from it, not ESTALE."""
    bucket.put("f", content(6 * MIB))
    body = bench.open("f")
    body.write(10, b"changed")
    proxy.inject(Stall(0.3), on("GetObject"), times=None)
    wanted = content(6 * MIB)[:10] + b"changed" + content(6 * MIB)[17:]
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(read, body, at * MIB, MIB) for at in range(6)]
        body.commit()
        parts = [future.result() for future in reads]
    assert b"".join(parts) == wanted


def test_writes_during_a_commit_are_in_the_next_one(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """Two threads write and sync one file: nothing acknowledged is missing in the end."""
    body = bench.new("f")

    def work(lane: int) -> None:
        for number in range(15):
            body.write((2 * number + lane) * 10, b"%010d" % (2 * number + lane))
            body.commit()

    threads = [threading.Thread(target=work, args=(lane,)) for lane in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bucket.get("f") == b"".join(b"%010d" % number for number in range(30))


def test_a_clean_file_stays_clean_when_a_write_fails(benches: Benches, bucket: Bucket) -> None:
    """No room for the first write: ENOSPC, and nothing to be committed."""
    bucket.put("f", b"old")
    bench = benches(limit=1000, full_wait=0.0)
    body = bench.open("f")
    with pytest.raises(NoSpace):
        body.write(0, bytes(2000))
    assert bench.store.counters.get(Count.FULL) == 1
    assert not body.dirty
    assert list(bench.staging.directory.iterdir()) == []


def test_the_staged_file_of_a_killed_process_is_uploaded(bench: Workbench, bucket: Bucket) -> None:
    """Written, cut, zeroed and never committed: the next process uploads just that."""
    bucket.put("f", content(8 * MIB))
    body = bench.open("f")
    body.write(MIB, b"new")
    body.resize(7 * MIB)
    body.zero(0, 100, keep_size=True)
    body.write(7 * MIB + 10, b"end")
    with bench.again() as later:
        [left] = later.restored()
        left.commit()
    old = content(8 * MIB)
    wanted = bytes(100) + old[100:MIB] + b"new" + old[MIB + 3 : 7 * MIB] + bytes(10) + b"end"
    assert bucket.get("f") == wanted


def test_an_emptied_cache_volume_takes_new_changes(bench: Workbench, bucket: Bucket) -> None:
    """Whoever deletes the cache under a running mount has not ended writing to it."""
    open_before = bench.new("a")
    open_before.write(0, b"before")
    shutil.rmtree(bench.staging.directory.parent)
    open_before.write(6, b" and after")
    open_before.commit()
    body = bench.new("b")
    body.write(0, b"after")
    body.commit()
    assert [bucket.get(key) for key in ("a", "b")] == [b"before and after", b"after"]


def test_an_unlinked_dirty_file_is_not_uploaded(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """Removed while open and changed: what is local can be read, nothing reaches the bucket."""
    bucket.put("f", content(3 * MIB))
    body = bench.open("f")
    body.write(0, b"changed")
    with body.kept():
        bench.store.delete("f")
    assert read(body, 0, 7) == b"changed"
    with pytest.raises(Stale):
        read(body)
    assert not body.commit()
    body.close()
    assert list(bench.staging.directory.iterdir()) == []
    assert "f" not in bucket


def test_a_small_cached_file_outlives_its_object(bench: Workbench, bucket: Bucket) -> None:
    """Neither an eviction nor the end of the process takes it from whoever has it open."""
    bucket.put("f", content(3 * MIB))
    body = bench.open("f")
    read(body)
    while not bench.cache.whole("f", body.etag or ""):
        time.sleep(0.01)  # a reader has its bytes before the disk has them
    with body.kept():
        bench.store.delete("f")
    bench.cache.evict(1 << 30)
    assert read(body) == content(3 * MIB)
    later = bench.again()
    [restored] = later.restored()
    assert restored.unlinked and read(restored) == content(3 * MIB)
    later.close()


def test_changes_of_a_removed_file_are_no_changes_of_its_name(
    bench: Workbench, bucket: Bucket
) -> None:
    """Begun after the removal, too: no retry, no drain and no later process uploads them."""
    bucket.put("f", content(3 * MIB))
    body = bench.open("f")
    with body.kept():
        bench.store.delete("f")
    body.write(0, b"changed")
    assert bench.staging.dirty.all() == []
    assert not body.commit()
    later = bench.again()
    [restored] = later.restored()
    assert restored.unlinked and later.staging.dirty.all() == []
    later.close()
    assert "f" not in bucket


def test_a_removal_makes_no_other_request(bench: Workbench, proxy: Proxy, bucket: Bucket) -> None:
    """Whatever is cached, and whatever was changed."""
    bucket.put("f", content(3 * MIB))
    body = bench.open("f")
    body.write(MIB, b"changed")
    with proxy.counting() as seen, body.kept():
        bench.store.delete("f")
    assert [each.operation for each in seen] == ["DeleteObject"]
    body.close()
    assert list(bench.staging.directory.iterdir()) == []
    assert "f" not in bucket


def test_a_failed_deletion_leaves_a_clean_file_clean(bench: Workbench, bucket: Bucket) -> None:
    """What was fetched for a deletion that failed is no change to be uploaded."""
    bucket.put("f", content(3 * MIB))
    body = bench.open("f")
    read(body)
    with pytest.raises(Unavailable), body.kept():
        raise Unavailable("the store refuses")
    assert not body.dirty
    assert not body.unlinked
    assert read(body) == content(3 * MIB)


def test_a_failed_deletion_loses_no_change(bench: Workbench, bucket: Bucket) -> None:
    """A dirty file whose deletion failed is committed as ever."""
    bucket.put("f", content(3 * MIB))
    body = bench.open("f")
    body.write(0, b"changed")
    with pytest.raises(Unavailable), body.kept():
        raise Unavailable("the store refuses")
    body.commit()
    assert bucket.get("f") == b"changed" + content(3 * MIB)[7:]


def test_a_broken_upload_changes_nothing(bench: Workbench, proxy: Proxy, bucket: Bucket) -> None:
    """The old object is untouched by parts that failed; the next try leaves no upload behind."""
    bucket.put("f", b"old")
    proxy.inject(ResetUpload(1000), on("UploadPart"), times=None)
    body = bench.open("f")
    body.write(0, content(12 * MIB))
    with pytest.raises(Unavailable):
        body.commit()
    assert bucket.get("f") == b"old"
    proxy.heal()
    body.commit()
    assert bucket.get("f") == content(12 * MIB)
    assert bucket.uploads() == []


def test_a_sick_disk_fails_the_write_not_the_file(bench: Workbench, bucket: Bucket) -> None:
    """Where nothing can be staged the caller gets the disk's error, and the file is as it was."""
    bucket.put("f", b"old")
    body = bench.open("f")
    os.rmdir(bench.staging.directory)
    bench.staging.directory.touch()
    with pytest.raises(NotADirectoryError):
        body.write(0, b"new")
    assert not body.dirty
    bench.staging.directory.unlink()
    bench.staging.directory.mkdir()
    body.write(0, b"new")
    body.commit()
    assert bucket.get("f") == b"new"
