"""Reads that wait for nothing: of checked bytes, of a whole clean file, in memory; else none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusefs.disk.pagecache import in_memory
from fusefs.interface import ROOT
from tests.fusefs.unmounted import CALLER, Unmounted
from tests.servers.s3 import Bucket
from tests.waiting import until

LARGE = os.urandom(300_000)  # files of its own in the cache
SMALL = os.urandom(30_000)  # a slot of a slab


@pytest.fixture(autouse=True)
def supported(tmp_path: Path) -> None:
    """RWF_NOWAIT isn't there on every file system."""
    (tmp_path / "probe").write_bytes(b"x")
    descriptor = os.open(tmp_path / "probe", os.O_RDONLY)
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        pytest.skip(f"this file system has no reads without waiting: {error}")
    finally:
        os.close(descriptor)


def now(unmounted: Unmounted, handle: int, offset: int = 10, size: int = 4096) -> bytes | None:
    """Read without waiting; None where that can't be."""
    view = memoryview(bytearray(size))
    done = unmounted.calls.read_now(handle, offset, view)
    return None if done < 0 else bytes(view[:done])


def whole(unmounted: Unmounted, handle: int, size: int) -> bytes:
    """Read all of a file."""
    view = memoryview(bytearray(size))
    return bytes(view[: unmounted.calls.read_into(handle, 0, view)])


def opened(unmounted: Unmounted, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a file."""
    return unmounted.calls.open(unmounted.calls.lookup(ROOT, name).node, flags).handle


@pytest.mark.parametrize("content", [LARGE, SMALL])
def test_a_file_is_read_now_once_it_is_cached(
    unmounted: Unmounted, bucket: Bucket, content: bytes
) -> None:
    """Before there is nothing to read; afterwards all of it, up to its end.

    A small file may have come with its open.
    """
    bucket.put("f", content)
    handle = opened(unmounted, "f")
    brought = None if content is LARGE else content[-10:]
    assert now(unmounted, handle, len(content) - 10) in (None, brought)
    assert whole(unmounted, handle, len(content)) == content
    until(lambda: now(unmounted, handle))  # it is on its way to the disk
    for offset, size in ((0, 16), (len(content) - 5, 4096), (len(content), 1), (1 << 40, 1)):
        assert now(unmounted, handle, offset, size) == content[offset:][:size]
    assert now(unmounted, 999) is None


@pytest.mark.parametrize("content", [LARGE, SMALL])
def test_a_change_is_read_and_never_what_was_there_before(
    unmounted: Unmounted, bucket: Bucket, content: bytes
) -> None:
    """A changed file isn't read now; committed it is another version."""
    bucket.put("f", content)
    handle = opened(unmounted, "f", os.O_RDWR)
    assert whole(unmounted, handle, len(content)) == content
    until(lambda: now(unmounted, handle))
    unmounted.calls.write(handle, 10, b"changed")
    assert now(unmounted, handle) is None
    unmounted.calls.flush(handle)
    changed = content[:10] + b"changed" + content[17:]
    assert now(unmounted, handle) in (None, changed[10:][:4096])
    assert whole(unmounted, handle, len(content)) == changed
    assert now(unmounted, handle) in (None, changed[10:][:4096])


def test_what_is_evicted_is_not_read(unmounted: Unmounted, bucket: Bucket) -> None:
    """A hole in the cache file is no content."""
    bucket.put("f", LARGE)
    handle = opened(unmounted, "f")
    assert whole(unmounted, handle, len(LARGE)) == LARGE
    until(lambda: now(unmounted, handle))
    body = unmounted.mounted.filesystem.files.body_of(handle)
    assert body is not None
    with body._binding.content() as version:
        version._file.shed(1)
    assert now(unmounted, handle) is None
    assert whole(unmounted, handle, len(LARGE)) == LARGE


def test_a_new_file_is_not_read_before_it_is_stored(unmounted: Unmounted) -> None:
    """Its bytes are in a staged file."""
    _, made = unmounted.calls.create(ROOT, "new", 0o100644, os.O_RDWR, CALLER)
    unmounted.calls.write(made.handle, 0, SMALL)
    assert now(unmounted, made.handle) is None


def test_bytes_that_only_the_disk_has_are_not_waited_for(tmp_path: Path) -> None:
    """Nor is the end of a file taken for content, nor a broken descriptor for an error."""
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    descriptor = os.open(path, os.O_RDONLY)
    view = memoryview(bytearray(4096))
    assert in_memory(descriptor, 8192, view) and view == LARGE[8192:][:4096]
    assert not in_memory(descriptor, len(LARGE) - 1, view)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    assert not in_memory(descriptor, 8192, view)
    os.close(descriptor)
    assert not in_memory(descriptor, 8192, view)
