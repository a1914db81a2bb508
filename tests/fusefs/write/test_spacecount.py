"""What changed files are counted for: what they take on the disk, and no more.

That the count agrees with the disk is checked at the end of each workbench.
"""

from __future__ import annotations

import pytest

from fusefs.errors import NoSpace, Stale
from fusefs.write.unsent import DirtySet
from tests.fusefs.conftest import Benches
from tests.fusefs.workbench import MIB, Workbench
from tests.servers.s3 import Bucket


@pytest.fixture
def full(benches: Benches) -> Workbench:
    """A workbench with 8 MiB of cache that gives up at once."""
    return benches(limit=8 * MIB, full_wait=0.0)


def test_overwriting_what_is_staged_takes_no_space(full: Workbench) -> None:
    """A full cache doesn't refuse it, however often."""
    body = full.new("f")
    body.write(0, b"a" * 8 * MIB)
    assert full.space.free == 0
    for letter in (b"b", b"c"):
        body.write(MIB, letter * MIB)
    assert full.space.used == 8 * MIB
    with pytest.raises(NoSpace):
        full.space.take(1)


def conflict(bench: Workbench, bucket: Bucket, key: str) -> None:
    """Have a writer lose a race with 1 MiB."""
    body = bench.new(key)
    body.write(0, b"x" * MIB)
    bucket.put(key, b"the winner's")
    with pytest.raises(Stale):
        body.commit()


def test_conflict_copies_are_given_back_when_they_are_removed(
    full: Workbench, bucket: Bucket
) -> None:
    """By hand, as the docs say: a cache that is full of them takes new files at once then."""
    for number in range(7):
        conflict(full, bucket, f"f{number}")
    with pytest.raises(NoSpace):
        full.space.take(2 * MIB)
    for path in full.staging.conflicts.iterdir():
        path.unlink()
    body = full.new("new")
    body.write(0, b"x" * 7 * MIB)
    assert body.commit()
    assert bucket.get("new") == b"x" * 7 * MIB


def test_conflict_copies_of_a_former_process_are_counted(full: Workbench, bucket: Bucket) -> None:
    """The limit is one for the whole volume."""
    for number in range(3):
        conflict(full, bucket, f"f{number}")
    used = full.space.used
    later = full.again()
    assert later.space.used >= 3 * MIB
    assert abs(later.space.used - used) < MIB
    later.close()


def test_zeros_that_nobody_wrote_take_no_space(full: Workbench, bucket: Bucket) -> None:
    """Neither before the commit nor after it: a file longer than the cache evicts nothing."""
    clean = full.new("clean")
    clean.write(0, b"x" * MIB)
    clean.commit()
    body = full.new("f")
    body.resize(24 * MIB)
    body.write(5 * MIB, b"x")
    body.commit()
    body.close()
    assert bucket.get("f") == bytes(5 * MIB) + b"x" + bytes(19 * MIB - 1)
    assert full.space.used < 2 * MIB
    assert full.cache.whole("clean", clean.etag or "")


def test_small_writes_here_and_there_take_whole_pages(full: Workbench) -> None:
    """A byte in each page of 7 MiB leaves 1 MiB of 8: the volume can't be overfilled by them."""
    body = full.new("f")
    for page in range(7 * MIB // 4096):
        body.write(page * 4096, b"x")
    assert full.space.free == MIB


def test_no_more_files_are_changed_than_there_are_descriptors_for(
    benches: Benches, bucket: Bucket
) -> None:
    """Requests need some, too: with all of them taken nothing could be uploaded any more.

    A writer makes room as on a full disk, by uploading what is older.
    """
    bench = benches(full_wait=0.0)
    bench.staging.dirty = DirtySet(2)
    old = bench.new("old")
    old.write(0, b"x")
    bench.new("empty")
    with pytest.raises(NoSpace):
        bench.new("one more")
    bucket.put("there", b"abc")
    bench.open("there").write(0, b"A")
    assert bucket.get("old") == b"x"
