"""Where the bytes of an open file are: in the cache's file while nothing of it is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusefs.cache.cachefile import CacheFile
from fusefs.interface import ROOT
from tests.fusefs.unmounted import Unmounted
from tests.servers.s3 import Bucket, Endpoint
from tests.waiting import until

CONTENT = os.urandom(700_000)


def opened(unmounted: Unmounted, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a file."""
    return unmounted.calls.open(unmounted.calls.lookup(ROOT, name).node, flags).handle


def given(unmounted: Unmounted, handle: int, offset: int = 0, size: int = 1 << 20) -> bytes:
    """Return the bytes that are where they are said to be; nothing where that isn't said."""
    extent = unmounted.calls.extent(handle, offset, size)
    if extent is None:
        return b""
    data = os.pread(extent.descriptor, extent.size, extent.offset)
    extent.release()
    return data


def cached(unmounted: Unmounted, bucket: Bucket, flags: int = os.O_RDONLY) -> int:
    """Open a file and have it in the cache as a whole."""
    bucket.put("f", CONTENT)
    handle = opened(unmounted, "f", flags)
    view = memoryview(bytearray(len(CONTENT)))
    assert unmounted.calls.read_into(handle, 0, view) == len(CONTENT) and view == CONTENT
    body = unmounted.mounted.filesystem.files.body_of(handle)
    assert body is not None
    with body._binding.content() as version:
        until(lambda: version._file.whole)  # it is on its way to the disk
    return handle


def test_a_cached_file_is_where_it_is_said_to_be(unmounted: Unmounted, bucket: Bucket) -> None:
    """From any place up to its end; a handle that isn't open has none."""
    bucket.put("other", CONTENT)
    assert not given(unmounted, opened(unmounted, "other"))
    handle = cached(unmounted, bucket)
    for offset in (0, 1000, len(CONTENT) - 5, len(CONTENT)):
        assert given(unmounted, handle, offset) == CONTENT[offset:]
    assert not given(unmounted, 999)


def test_a_changed_file_is_nowhere(unmounted: Unmounted, bucket: Bucket) -> None:
    """What is read is partly in a staged file; committed it is another version."""
    handle = cached(unmounted, bucket, os.O_RDWR)
    assert given(unmounted, handle) == CONTENT
    unmounted.calls.write(handle, 10, b"changed")
    assert not given(unmounted, handle)
    unmounted.calls.flush(handle)
    assert given(unmounted, handle) in (b"", CONTENT[:10] + b"changed" + CONTENT[17:])


def test_a_version_stays_open_until_its_extent_is_released(
    unmounted: Unmounted, bucket: Bucket
) -> None:
    """Closing the handle meanwhile closes no descriptor that is still read."""
    handle = cached(unmounted, bucket)
    extent = unmounted.calls.extent(handle, 0, len(CONTENT))
    assert extent is not None
    unmounted.calls.release(handle)
    assert os.pread(extent.descriptor, len(CONTENT), 0) == CONTENT
    extent.release()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(extent.descriptor)


def test_an_error_leaves_nothing_open(
    unmounted: Unmounted, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no memory to check a block with."""
    handle = cached(unmounted, bucket)
    extent = unmounted.calls.extent(handle, 0, len(CONTENT))
    assert extent is not None
    extent.release()

    def refuses(*_: object) -> None:
        raise MemoryError("a block to check")

    with monkeypatch.context() as patched:
        patched.setattr(CacheFile, "extent", refuses)
        with pytest.raises(MemoryError):
            unmounted.calls.extent(handle, 0, len(CONTENT))
    unmounted.calls.release(handle)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(extent.descriptor)


def test_without_splice_nobody_is_told(tmp_path: Path, bucket: Bucket, store: Endpoint) -> None:
    """`--without splice`: all reads are copies."""
    with Unmounted(bucket, tmp_path, store, {"without": frozenset({"splice"})}) as unmounted:
        assert not given(unmounted, cached(unmounted, bucket))
