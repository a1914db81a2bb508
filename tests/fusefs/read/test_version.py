"""One version of an object, read from a bucket in memory: never mixed with another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from fusefs.errors import Stale
from fusefs.read.reader import Reader, ReadLimits
from fusefs.read.version import ObjectVersion
from tests.fusefs.memorystore import MemoryMount

KIB = 1 << 10
DATA = bytes(range(256)) * 4 * KIB  # 1 MiB


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MemoryMount]:
    """A reader over a bucket in memory."""
    with MemoryMount(tmp_path) as opened:
        yield opened


def opened(mount: MemoryMount, data: bytes = DATA, head: bytes = b"") -> ObjectVersion:
    """Open the version that others have just written."""
    info = mount.store.others_put("f", data)
    return mount.reader.open("f", info.etag, info.size, head)


def read(version: ObjectVersion, offset: int, length: int) -> bytes:
    """Read a range as one system call."""
    view = bytearray(length)
    return bytes(view[: version.read_into(offset, memoryview(view), version.stream())])


def test_a_read_at_the_end_is_short(mount: MemoryMount) -> None:
    """And one behind it has nothing."""
    version = opened(mount)
    assert read(version, len(DATA) - 10, 100) == DATA[-10:]
    assert read(version, len(DATA), 100) == b""
    version.close()


def test_what_came_with_the_open_is_not_fetched(mount: MemoryMount) -> None:
    """The first bytes are there without a request."""
    version = opened(mount, head=DATA)
    assert read(version, 1000, 5000) == DATA[1000:6000]
    assert mount.store.asked["get"] == 0
    version.close()


def test_a_replaced_version_is_stale(mount: MemoryMount) -> None:
    """Bytes of the newer one never show."""
    version = opened(mount)
    mount.store.others_put("f", b"x" * len(DATA))
    with pytest.raises(Stale):
        read(version, 0, 100)
    version.close()


def test_what_is_cached_outlives_its_object(mount: MemoryMount) -> None:
    """Blocks that were read are on the disk, whatever becomes of the key."""
    version = opened(mount, DATA[: 64 * KIB])
    assert read(version, 0, 64 * KIB) == DATA[: 64 * KIB]
    version.close()
    info = mount.store.head("f")
    mount.store.delete("f")
    again = mount.reader.open("f", info.etag, info.size)
    assert read(again, 5, 10) == DATA[5:15]
    again.close()


def test_a_renamed_object_is_read_on_under_its_new_key(mount: MemoryMount) -> None:
    """Our own copy gives the same bytes another identity."""
    version = opened(mount)
    moved = mount.store.others_put("g", DATA)
    mount.store.delete("f")
    version.renamed("g", moved.etag)
    assert read(version, 512 * KIB, 100) == DATA[512 * KIB :][:100]
    version.close()


@pytest.mark.parametrize(("ahead", "gets"), [(True, 8), (False, 2)])
def test_where_it_is_switched_off_nothing_is_read_ahead(
    mount: MemoryMount, *, ahead: bool, gets: int
) -> None:
    """`--without readahead`: who reads two blocks in order costs two requests, of eight blocks."""
    info = mount.store.others_put("f", DATA)
    reader = Reader(mount.store, mount.cache, ReadLimits(part=128 * KIB, ahead=ahead))
    version = reader.open("f", info.etag, info.size)
    stream, view = version.stream(), memoryview(bytearray(128 * KIB))
    for offset in (0, 128 * KIB):
        assert version.read_into(offset, view, stream) == len(view)
    while version.pending:
        sleep(0.001)
    assert mount.store.asked["get"] == gets
    version.close()
    reader.close()
