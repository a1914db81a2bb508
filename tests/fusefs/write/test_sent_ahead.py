"""Uploads begun ahead: the next process goes on with them; a journal may be full."""

import errno
import threading
from contextlib import closing

import pytest

from fusefs.s3.conditions import IF_ABSENT
from fusefs.write.incremental import IncrementalUpload
from fusefs.write.multipart import MultipartUpload
from fusefs.write.staged import Record, Staged
from tests.fusefs.workbench import MIB, Workbench, posix
from tests.fusefs.write.test_large_files import DOWN, write_all
from tests.fusefs.write.test_uploader import content
from tests.proxy.exchange import on
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

SIZE = 18 * MIB


@pytest.mark.parametrize("arrived", [True, False])
def test_parts_beside_copies_have_an_md5_in_the_next_process_too(
    bench: Workbench, proxy: Proxy, bucket: Bucket, arrived: bool
) -> None:
    """The upload was begun without CRC32s, whether a part of it had arrived or not."""
    bucket.put("f", content(SIZE))
    if not arrived:
        proxy.inject(DOWN, on("UploadPart"), times=None)
    body = bench.open("f")
    write_all(body, content(11 * MIB, 1))
    proxy.settle(0.2)
    proxy.heal()
    with bench.again() as later:
        [left] = later.restored()
        with proxy.counting() as seen:
            write_all(left, content(5 * MIB, 2), 11 * MIB)
            left.commit()
    sent = [each.headers for each in seen.of("UploadPart")]
    assert sent
    assert all("content-md5" in each for each in sent)
    assert not any("x-amz-checksum-crc32" in each for each in sent)
    assert "CreateMultipartUpload" not in seen.operations
    whole = content(11 * MIB, 1) + content(5 * MIB, 2) + content(SIZE)[16 * MIB :]
    assert bucket.get("f") == whole


class Full(Staged):
    """A staged file whose journal has no room for an upload."""

    def upload_begun(self, outgoing: MultipartUpload) -> None:
        raise OSError(errno.ENOSPC, "no space")


def test_a_journal_without_room_for_an_upload_fails_no_write(
    bench: Workbench, bucket: Bucket
) -> None:
    """The write is done by then; told of ENOSPC, an append would be made twice."""
    record = Record("f", IF_ABSENT, None, 0, posix=posix())
    ahead = IncrementalUpload(bench.uploader, 1 << 30, threading.Lock())
    with closing(Full(bench.staging.directory / "x", record, bench.space)) as staged:
        staged.write(0, content(11 * MIB))
        ahead.advance(staged, 10 * MIB, 11 * MIB, posix())
        ahead.stop()
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)
