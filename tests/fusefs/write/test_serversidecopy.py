"""`copy_file_range`: bytes that stay in the store, whatever happens to their source."""

from __future__ import annotations

import pytest

from fusefs.errors import Stale
from fusefs.objects import ObjectInfo
from fusefs.write.filecontent import FileContent
from fusefs.write.serversidecopy import CopiedRange, CopiedRanges, CopySource
from tests.fusefs.workbench import MIB, Workbench, read
from tests.fusefs.write.test_uploader import content
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket


def copy_in(
    bench: Workbench, body: FileContent, key: str, start: int, end: int, shift: int = 0
) -> None:
    """Let `body` have bytes of the object `key`."""
    body.copy_in(CopiedRange(start, end, CopySource(bench.store.head(key), shift)))


@pytest.mark.parametrize("size", [1, 300_000, 12 * MIB])
def test_a_whole_file_is_one_copy(
    bench: Workbench, proxy: Proxy, bucket: Bucket, size: int
) -> None:
    """`cp`: one CopyObject, with the target's own attributes, whatever the size."""
    bucket.put("from", content(size), {"mode": "33152", "mine": "stays"})
    body = bench.new("to")
    copy_in(bench, body, "from", 0, size)
    with proxy.counting() as seen:
        body.commit()
    assert seen.operations == {"CopyObject": 1}
    assert seen[0].condition == "If-None-Match: *"
    assert bucket.get("to") == content(size)
    assert bucket.metadata("to")["mode"] == str(0o100644)
    assert read(body) == content(size)


def test_lent_ranges_are_copied_and_read_before_the_commit(
    bench: Workbench, proxy: Proxy, bucket: Bucket
) -> None:
    """A written head, a copied middle and a written tail: only head and tail travel."""
    bucket.put("from", content(20 * MIB))
    body = bench.new("to")
    body.write(0, b"h" * (6 * MIB))
    copy_in(bench, body, "from", 6 * MIB, 18 * MIB, 1000 - 6 * MIB)
    body.write(18 * MIB, b"tail")
    wanted = b"h" * (6 * MIB) + content(20 * MIB)[1000 : 1000 + 12 * MIB] + b"tail"
    assert read(body) == wanted
    with proxy.counting() as seen:
        body.commit()
    assert seen.of("UploadPart").uploaded == 6 * MIB + 4
    assert seen.of("GetObject").downloaded == 0
    assert bucket.get("to") == wanted


def test_writing_over_lent_bytes(bench: Workbench, bucket: Bucket) -> None:
    """The newest bytes count: written, cut and zeroed parts aren't copied any more."""
    bucket.put("from", content(20 * MIB))
    body = bench.new("to")
    copy_in(bench, body, "from", 0, 20 * MIB)
    body.write(7 * MIB, b"new")
    body.zero(0, 10, keep_size=True)
    body.resize(19 * MIB)
    body.resize(19 * MIB + 5)
    old = content(20 * MIB)
    wanted = bytes(10) + old[10 : 7 * MIB] + b"new" + old[7 * MIB + 3 : 19 * MIB] + bytes(5)
    assert read(body) == wanted
    body.commit()
    assert bucket.get("to") == wanted


def test_a_replaced_lender_is_told(bench: Workbench, bucket: Bucket) -> None:
    """Others replace the source before the commit: ESTALE, never a mixture, nothing stored."""
    bucket.put("from", content(12 * MIB))
    body = bench.new("to")
    copy_in(bench, body, "from", 0, 12 * MIB)
    bucket.put("from", b"other")
    with pytest.raises(Stale):
        body.commit()
    assert "to" not in bucket


def test_a_replaced_lender_that_is_cached_does_no_harm(bench: Workbench, bucket: Bucket) -> None:
    """What was read before is on the disk: the copy is completed from there."""
    bucket.put("from", content(12 * MIB))
    body = bench.new("to")
    copy_in(bench, body, "from", 0, 12 * MIB)
    assert read(body) == content(12 * MIB)
    bucket.put("from", b"other")
    body.commit()
    assert bucket.get("to") == content(12 * MIB)


def test_a_lender_that_goes_is_repaid_first(bench: Workbench, bucket: Bucket) -> None:
    """Our own unlink or rename of the source has the copy made before."""
    bucket.put("from", content(12 * MIB))
    body = bench.new("to")
    copy_in(bench, body, "from", 0, 12 * MIB)
    bench.staging.dirty.commit_copies("from")
    bucket.delete("from")
    assert not body.dirty
    assert bucket.get("to") == content(12 * MIB)


def test_the_next_process_knows_the_loans(bench: Workbench, bucket: Bucket) -> None:
    """Killed before the commit: the copy is made by the next process."""
    bucket.put("from", content(12 * MIB))
    body = bench.new("to")
    copy_in(bench, body, "from", 0, 12 * MIB)
    body.write(12 * MIB, b"tail")
    with bench.again() as later:
        [left] = later.restored()
        left.commit()
    assert bucket.get("to") == content(12 * MIB) + b"tail"


def test_neighbours_of_one_lender_become_one() -> None:
    """The kernel asks piece by piece; the whole is one range in the end."""
    info = ObjectInfo("from", 30, "e", 0.0)
    copies = CopiedRanges()
    for start in (10, 0, 20):
        copies.add(CopiedRange(start, start + 10, CopySource(info, 0)))
    assert copies.whole(30) == info
    copies.remove(5, 7)
    pieces = [(low, high, source is not None) for low, high, source in copies.pieces(4, 9)]
    assert pieces == [(4, 5, True), (5, 7, False), (7, 9, True)]
