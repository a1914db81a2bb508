"""Large files: sent while they are written, sent once, and written with a full disk."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fusefs.errors import NoSpace, Stale
from fusefs.s3.conditionprobes import Conditions
from fusefs.s3.partbody import READ, PartBody
from fusefs.write.filecontent import FileContent
from fusefs.write.multipart import Grid, MultipartUpload
from fusefs.write.serversidecopy import CopiedRange, CopySource
from fusefs.write.uploader import FileBytes
from fusefs.write.uploadplan import MAX_PARTS
from tests.fusefs.conftest import Benches
from tests.fusefs.workbench import MIB, Workbench, posix, read
from tests.fusefs.write.test_uploader import content
from tests.proxy.exchange import on
from tests.proxy.faults import Hold, LostAnswer, Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

DOWN = Status(400, "MalformedXML")
SIZE = 33 * MIB
STEP = 512 * 1024


def write_all(body: FileContent, data: bytes, offset: int = 0) -> None:
    """Write as programs do: in order, in pieces."""
    for at in range(0, len(data), STEP):
        body.write(offset + at, data[at : at + STEP])


def ahead(bench: Workbench, proxy: Proxy) -> None:
    """Wait until no part is under way."""
    proxy.settle(0.2)


def test_close_sends_only_the_tail(bench: Workbench, proxy: Proxy, bucket: Bucket) -> None:
    """Each byte of a large new file goes once, most of them before the commit."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    ahead(bench, proxy)
    before = len(proxy.requests.of("UploadPart"))
    body.commit()
    sent = proxy.requests
    assert before == 6
    assert sent.operations["UploadPart"] == 7
    assert sent.operations["CreateMultipartUpload"] == 1
    assert sum(part.uploaded for part in sent.of("UploadPart")) == SIZE
    assert "CopyObject" not in sent.operations
    assert bucket.get("f") == content(SIZE)


def test_the_store_is_asked_what_it_honours_while_parts_are_sent(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """The first large file of a mount doesn't wait for those questions when all else is done."""
    bucket.put("f", content(12 * MIB))
    Conditions(bench.store, "", bench.space.root)
    body = bench.open("f")
    body.write(6 * MIB, b"changed")
    hold = Hold()
    proxy.inject(hold, on("UploadPart", "f"), times=None)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(body.commit)
        hold.wait_for(1)
        while not proxy.requests.of("AbortMultipartUpload"):
            time.sleep(0.01)
        hold.let_go()
        assert done.result()
    assert [each.key for each in proxy.requests.of("CompleteMultipartUpload")][-1] == "f"
    assert len(proxy.requests.of("CompleteMultipartUpload")) == 2


def test_both_sides_of_a_small_change_are_fetched_at_once(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """A page in a part is sent with its neighbours, in parts of up to 4 MiB at once."""
    bucket.put("f", content(12 * MIB))
    body = bench.open("f")
    body.write(6 * MIB, b"changed")
    with proxy.counting() as seen:
        body.commit()
    assert seen.operations["GetObject"] == 2
    expected = bytearray(content(12 * MIB))
    expected[6 * MIB : 6 * MIB + 7] = b"changed"
    assert bucket.get("f") == expected


def test_a_rewritten_part_is_sent_again(bench: Workbench, proxy: Proxy, bucket: Bucket) -> None:
    """A header patched in the end, as archivers and cameras do, costs that part alone."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    ahead(bench, proxy)
    body.write(10, b"patched")
    with proxy.counting() as seen:
        body.commit()
    assert seen.operations == {"UploadPart": 2, "CompleteMultipartUpload": 1}
    assert bucket.get("f") == content(SIZE)[:10] + b"patched" + content(SIZE)[17:]


def test_a_rewritten_part_is_sent_again_by_the_next_process(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """Killed after a part was sent and then written over: the object has the later bytes."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    ahead(bench, proxy)
    body.write(10, b"patched")
    with bench.again() as later:
        [left] = later.restored()
        left.commit()
    assert bucket.get("f") == content(SIZE)[:10] + b"patched" + content(SIZE)[17:]


@contextmanager
def waiting(bench: Workbench) -> Iterator[None]:
    """Let no part begin inside the block, and all that wait for their turn end after it."""
    gate = threading.Event()
    for _ in range(4):
        bench.uploads.submit(gate.wait)
    yield
    gate.set()
    behind = [bench.uploads.submit(time.sleep, 0.1) for _ in range(4)]
    wait(behind)


def test_a_part_cut_off_before_its_turn(bench: Workbench, bucket: Bucket) -> None:
    """A part that waits to be sent while the file is cut in its middle adds nothing behind it."""
    body = bench.new("f")
    with waiting(bench):
        write_all(body, content(SIZE))
        body.resize(12 * MIB)
    body.commit()
    assert bucket.get("f") == content(12 * MIB)


def test_a_part_copied_over_before_its_turn(bench: Workbench, bucket: Bucket) -> None:
    """A part that waits to be sent while others' bytes take its place: theirs are in the object."""
    bucket.put("other", content(5 * MIB, 3))
    other = bench.open("other").info
    assert other is not None
    body = bench.new("f")
    with waiting(bench):
        write_all(body, content(SIZE))
        body.copy_in(CopiedRange(5 * MIB, 10 * MIB, CopySource(other, -5 * MIB)))
    body.commit()
    wanted = content(SIZE)[: 5 * MIB] + content(5 * MIB, 3) + content(SIZE)[10 * MIB :]
    assert bucket.get("f") == wanted


@pytest.mark.parametrize("size", [100, 12 * MIB, 20 * MIB + 1])
def test_a_file_cut_after_its_parts_were_sent(
    bench: Workbench, proxy: Proxy, bucket: Bucket, size: int
) -> None:
    """What was cut off is not in the object, whatever was sent of it; no upload is left."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    ahead(bench, proxy)
    body.resize(size)
    body.commit()
    assert bucket.get("f") == content(size)
    assert bucket.uploads() == []


def test_only_its_own_writing_moved_the_mtime(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """The object keeps the time its upload began with, and the file shows the same."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    body.commit()
    assert "CopyObject" not in proxy.requests.operations
    seconds, _, fraction = bucket.metadata("f")["mtime"].partition(".")
    assert body.posix.mtime_ns == int(seconds) * 10**9 + int(fraction)


def test_attributes_set_meanwhile_cost_one_copy(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """`cp -p`: times and mode set before the close are in the object, the bytes go once."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    body.set_posix(replace(body.posix, mode=stat.S_IFREG | 0o600, mtime_ns=10**18))
    body.commit()
    assert proxy.requests.operations["CopyObject"] == 1
    assert bucket.metadata("f")["mtime"] == str(10**9)
    assert bucket.metadata("f")["mode"] == str(stat.S_IFREG | 0o600)
    assert body.etag == bucket.etag("f").strip('"')
    assert bucket.get("f") == content(SIZE)


def test_the_next_process_sends_what_is_missing(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """Killed in the middle of a large file: parts that arrived are not sent again."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    ahead(bench, proxy)
    with bench.again() as later:
        [left] = later.restored()
        with proxy.counting() as seen:
            left.commit()
    # One HEAD first: the former process may have completed it and not lived to hear of it.
    once = {"HeadObject": 1, "UploadPart": 1, "CompleteMultipartUpload": 1}
    assert seen.operations == once
    assert bucket.get("f") == content(SIZE)


def test_an_upload_that_others_aborted_is_begun_anew(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """A lifecycle rule removed it: everything is still here, and sent again."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    ahead(bench, proxy)
    client = bucket.client
    [upload] = client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    client.abort_multipart_upload(Bucket=bucket.name, Key="f", UploadId=upload["UploadId"])
    body.commit()
    assert bucket.get("f") == content(SIZE)


@pytest.mark.parametrize("operation", ["UploadPart", "CreateMultipartUpload"])
def test_a_part_that_failed_ahead_is_sent_by_the_commit(
    bench: Workbench, proxy: Proxy, bucket: Bucket, operation: str
) -> None:
    """The writer isn't told of a failure in the background that the commit makes good."""
    proxy.inject(DOWN, on(operation), times=2)
    body = bench.new("f")
    write_all(body, content(SIZE))
    body.commit()
    assert bucket.get("f") == content(SIZE)
    assert bucket.uploads() == []


@pytest.mark.parametrize("chmod", [False, True])
def test_a_lost_answer_to_complete_is_no_conflict(
    bench: Workbench, proxy: Proxy, bucket: Bucket, chmod: bool
) -> None:
    """The object is there: known for ours, with the attributes it ought to have."""
    proxy.inject(LostAnswer(), on("CompleteMultipartUpload"))
    body = bench.new("f")
    write_all(body, content(SIZE))
    if chmod:
        body.set_posix(replace(body.posix, mode=stat.S_IFREG | 0o600))
    body.commit()
    assert bucket.get("f") == content(SIZE)
    mode = stat.S_IFREG | (0o600 if chmod else 0o644)
    assert bucket.metadata("f")["mode"] == str(mode)


def test_a_conflict_loses_no_byte_that_was_sent_ahead(bench: Workbench, bucket: Bucket) -> None:
    """Another writer creates the file meanwhile: all of ours is in conflicts/."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    bucket.put("f", b"theirs")
    with pytest.raises(Stale):
        body.commit()
    [kept] = bench.staging.conflicts.glob("*.data")
    assert kept.read_bytes() == content(SIZE)
    assert bucket.uploads() == []


def test_a_removed_file_leaves_no_upload(bench: Workbench, bucket: Bucket) -> None:
    """Unlinked while it is written: its parts are thrown away, its descriptor goes on."""
    body = bench.new("f")
    write_all(body, content(SIZE))
    with body.kept():
        pass
    assert bucket.uploads() == []
    assert read(body) == content(SIZE)


def test_a_long_append_downloads_no_more_than_a_part(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """20 MiB more on 13 MiB: the old bytes are copied, but for the part that both share."""
    bucket.put("f", content(13 * MIB))
    body = bench.open("f")
    write_all(body, content(20 * MIB, 5), 13 * MIB)
    body.commit()
    assert bucket.get("f") == content(13 * MIB) + content(20 * MIB, 5)
    assert proxy.requests.operations["UploadPartCopy"] == 2
    assert proxy.requests.of("GetObject").downloaded <= 5 * MIB


def test_a_short_append_keeps_its_budget(bench: Workbench, proxy: Proxy, bucket: Bucket) -> None:
    """1 MiB more on 60 MiB: create, copies, one part, complete; nothing is downloaded."""
    bucket.put("f", content(60 * MIB))
    body = bench.open("f")
    with proxy.counting() as seen:
        write_all(body, content(MIB), 60 * MIB)
        body.commit()
    assert seen.operations.pop("UploadPartCopy") == 12
    assert {**seen.operations, "UploadPartCopy": 0} == {
        "CreateMultipartUpload": 1,
        "UploadPartCopy": 0,
        "UploadPart": 1,
        "CompleteMultipartUpload": 1,
    }


@pytest.mark.timeout(180)
def test_a_file_larger_than_the_cache_can_be_written(benches: Benches, bucket: Bucket) -> None:
    """Three times the cache: what is sent makes room, no byte is missing."""
    body = benches(limit=16 * MIB).new("f")
    write_all(body, content(48 * MIB))
    body.commit()
    assert bucket.get("f") == content(48 * MIB)


@pytest.mark.timeout(180)
def test_two_writers_of_large_files_share_a_small_cache(benches: Benches, bucket: Bucket) -> None:
    """Both end, and both are whole."""
    bench = benches(limit=16 * MIB)
    bodies = [bench.new(name) for name in ("a", "b")]
    threads = [
        threading.Thread(target=write_all, args=(body, content(30 * MIB, seed)))
        for seed, body in enumerate(bodies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for seed, body in enumerate(bodies):
        body.commit()
        assert bucket.get(body.key) == content(30 * MIB, seed)


def test_a_full_disk_without_a_store_is_told_at_write(
    benches: Benches, proxy: Proxy, bucket: Bucket
) -> None:
    """ENOSPC after a bounded wait; what was acknowledged is uploaded when the store is back."""
    bench = benches(limit=8 * MIB, full_wait=0.5)
    proxy.inject(DOWN, lambda seen: seen.method in ("PUT", "POST"), times=None)
    body, done = bench.new("f"), 0
    began = time.monotonic()
    with pytest.raises(NoSpace):
        while True:
            body.write(done, content(SIZE)[done : done + STEP])
            done += STEP
    assert time.monotonic() - began < 30
    proxy.heal()
    body.commit()
    assert bucket.get("f") == content(SIZE)[:done]


def test_a_store_without_checksums_is_used_without(bench: Workbench, proxy: Proxy) -> None:
    """A refused checksum header is left away from then on, once boto3 was refused it, too."""
    refusal = Status(501, "NotImplemented")
    proxy.inject(refusal, lambda seen: "x-amz-checksum-crc32" in seen.headers, times=None)
    for name in ("f", "g"):
        body = bench.new(name)
        body.write(0, b"content")
        body.commit()
    assert len(proxy.requests) == 4


def test_cells_are_of_one_size_and_follow_each_other() -> None:
    """Stores want parts of one size; a file that outgrows ten thousand is sent anew."""
    grid = Grid(16 * MIB)
    for number in (1, 2, 999, 1000, 1001, 5000, MAX_PARTS):
        start, end = grid.cell(number)
        assert end - start == 16 * MIB
        assert grid.at(start) == grid.at(end - 1) == number
        assert grid.cell(number + 1)[0] == end
    outgoing = MultipartUpload("upload", "f", grid, None)
    assert outgoing.reaches(MAX_PARTS * 16 * MIB)
    assert not outgoing.reaches(MAX_PARTS * 16 * MIB + 1)


def test_a_grid_of_a_former_version_is_used_as_far_as_it_was_even() -> None:
    """Its cells grew after the first thousand: a longer file is sent anew."""
    told = {"upload": "u", "key": "f", "grid": [16 * MIB, 5 << 30]}
    outgoing = MultipartUpload.of(told, None)
    assert outgoing.grid.cell(1000)[1] == 1000 * 16 * MIB
    assert outgoing.reaches(1000 * 16 * MIB)
    assert not outgoing.reaches(1000 * 16 * MIB + 1)
    assert MultipartUpload.of(outgoing.as_json(), None).grid == Grid(16 * MIB)


def test_a_large_part_is_read_as_it_is_sent(
    bench: Workbench, bucket: Bucket, tmp_path: Path
) -> None:
    """A body that isn't held in memory arrives whole, checksum and all."""
    data = content(6 * MIB)
    read_at: list[int] = []

    def fill(offset: int, view: memoryview) -> None:
        read_at.append(len(view))
        view[:] = data[offset : offset + len(view)]

    upload = bench.store.uploads.create("f", bench.uploader.headers_for(_record()))
    part = bench.store.uploads.part("f", upload, 1, PartBody(fill, 0, len(data)))
    bench.store.uploads.complete("f", upload, [part], None)
    assert bucket.get("f") == data
    assert max(read_at) <= READ
    assert sum(read_at) == 3 * len(data)  # for its checksum, its signature, and to send it


def test_what_is_staged_is_read_to_be_hashed_only(
    bench: Workbench, proxy: Proxy, bucket: Bucket, tmp_path: Path
) -> None:
    """Then it goes from the file to the connection: no copy of it is made here."""
    data = content(6 * MIB)
    path = tmp_path / "data"
    path.write_bytes(data)
    read_at: list[int] = []

    def fill(offset: int, view: memoryview) -> None:
        read_at.append(len(view))
        view[:] = data[offset : offset + len(view)]

    with path.open("rb") as file, proxy.counting() as seen:
        sent = FileBytes(fill, lambda start, end: file.fileno())
        bench.uploader.part("f", ahead_of(bench), 1, 0, len(data), sent)
    assert sum(read_at) == 2 * len(data)
    assert seen.of("UploadPart").uploaded == len(data)


def ahead_of(bench: Workbench) -> str:
    """Begin an upload of a file."""
    return bench.store.uploads.create("f", bench.uploader.headers_for(_record()))


def _record():  # type: ignore[no-untyped-def]  # a detail of the test above
    from fusefs.write.staged import Record

    return Record("f", None, None, 6 * MIB, posix=posix())
