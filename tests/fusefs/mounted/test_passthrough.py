"""`--passthrough`: the kernel reads cached files by itself, though they can be written.

Whoever has such a file open keeps, byte for byte, what it opened. Everybody else sees each write.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fusefs.session.sessionlog import PASSTHROUGH, SessionLog
from tests.fusefs.mounted.conftest import Mounts, Place, Share, Shared
from tests.mounts.ours import OurMount
from tests.servers.s3 import Bucket, Endpoint

CONTENT = os.urandom(4096) * 64
SIZE = len(CONTENT)
OTHER = b"other" * 40_000


@pytest.fixture(scope="module")
def passing(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount with the option."""
    with share(store, None, "--passthrough") as shared:
        yield shared


@pytest.fixture
def place(passing: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory of it, with a cached file `f` and a small one."""
    with passing.place(request) as place:
        place.path.mkdir()
        (place / "f").write_bytes(CONTENT)
        yield place


def by_kernel(shared: Shared) -> int:
    """Return how many open files the mount's journal says are read by the kernel."""
    assert isinstance(shared.mount, OurMount)
    files = SessionLog.read(shared.mount.cache / "session.log").files.values()
    return sum(bool(file.flags & PASSTHROUGH) for file in files)


@contextmanager
def reader(shared: Shared, path: Path) -> Iterator[int]:
    """Open a file that the kernel then reads; who wrote it before may not be released yet."""
    before = by_kernel(shared)
    for _ in range(200):
        fd = os.open(path, os.O_RDONLY)
        if by_kernel(shared) > before:
            break
        os.close(fd)
        time.sleep(0.02)
    else:
        pytest.skip("this kernel or disk has no passthrough")
    try:
        yield fd
    finally:
        os.close(fd)


def test_a_reader_keeps_what_it_opened_while_others_see_each_write(
    passing: Shared, place: Place
) -> None:
    """A writer, and a reader that came after it, share one content as ever."""
    path = place / "f"
    with reader(passing, path) as old, path.open("r+b", buffering=0) as writer:
        inode = os.fstat(old).st_ino
        writer.write(b"new")
        with path.open("rb", buffering=0) as beside:
            assert beside.read() == b"new" + CONTENT[3:]
            writer.seek(0, os.SEEK_END)
            writer.write(b"tail")
            assert beside.read() == b"tail"
        assert os.pread(old, SIZE + 9, 0) == CONTENT
        assert (os.fstat(old).st_size, path.stat().st_size) == (SIZE, SIZE + 4)
        assert os.fstat(old).st_ino == inode != path.stat().st_ino  # for `tail -F`
        os.fsync(writer.fileno())
        assert place.keys.get("f") == b"new" + CONTENT[3:] + b"tail"
        assert os.pread(old, SIZE + 9, 0) == CONTENT


def _mapped(path: Path) -> bytes:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:3] = b"map"
        mapped.flush()
    return b"map" + CONTENT[3:]


def _truncated(path: Path) -> bytes:
    os.truncate(path, 5)
    return CONTENT[:5]


def _begun_anew(path: Path) -> bytes:
    path.write_bytes(b"anew")
    return b"anew"


def _longer(path: Path) -> bytes:
    os.truncate(path, SIZE + 5)
    return CONTENT + bytes(5)


def _copied_onto(path: Path) -> bytes:
    source = path.with_name("source")
    source.write_bytes(OTHER)
    with source.open("rb") as origin, path.open("r+b") as goal:
        assert os.copy_file_range(origin.fileno(), goal.fileno(), 10) == 10
    return OTHER[:10] + CONTENT[10:]


def _allocated(path: Path) -> bytes:
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), SIZE, 7)
    return CONTENT + bytes(7)


def _replaced(path: Path) -> bytes:
    path.with_name("g").write_bytes(OTHER)
    path.with_name("g").rename(path)
    return OTHER


def _made_anew(path: Path) -> bytes:
    path.unlink()
    path.write_bytes(OTHER)
    return OTHER


def _renamed(path: Path) -> bytes:
    path.rename(path.with_name("h"))
    path.with_name("h").chmod(0o600)
    path.with_name("h").rename(path)
    return CONTENT


@pytest.mark.parametrize(
    "change",
    [
        _mapped, _truncated, _begun_anew, _longer, _copied_onto, _allocated, _replaced, _made_anew,
        _renamed,
    ],
)  # fmt: skip
def test_whatever_is_done_to_the_file_its_reader_keeps_the_bytes(
    passing: Shared, place: Place, change: Callable[[Path], bytes]
) -> None:
    """Read, and mapped before and after; who opens it then has the change, and so has S3."""
    path = place / "f"
    with reader(passing, path) as old, mmap.mmap(old, SIZE, prot=mmap.PROT_READ) as before:
        after = change(path)
        assert path.read_bytes() == after
        assert place.keys.get("f") == after
        assert os.pread(old, SIZE + 9, 0) == CONTENT
        assert os.fstat(old).st_size == SIZE
        with mmap.mmap(old, SIZE, prot=mmap.PROT_READ) as later:
            assert before[:] == later[:] == CONTENT
    assert path.read_bytes() == after


def test_a_file_that_is_written_is_read_through_the_mount(passing: Shared, place: Place) -> None:
    """As long as a writer has it open, or its mapping, readers see what it does."""
    path = place / "f"
    with path.open("r+b", buffering=0) as writer:
        before = by_kernel(passing)
        with path.open("rb", buffering=0) as beside:
            assert by_kernel(passing) == before
            writer.write(b"new")
            assert beside.read(3) == b"new"
        mapped = mmap.mmap(writer.fileno(), SIZE)
    with path.open("rb", buffering=0) as beside:
        assert by_kernel(passing) == before
        mapped[3:6] = b"map"
        assert beside.read(6) == b"newmap"
    mapped.close()


def test_without_the_option_a_reader_sees_what_is_appended(shared: Shared, here: Place) -> None:
    """`tail -f`: no file of a mount that can be written is in passthrough by default."""
    path = here / "f"
    path.write_bytes(CONTENT)
    with path.open("rb", buffering=0) as tail, path.open("ab", buffering=0) as log:
        assert tail.read() == CONTENT
        log.write(b"line")
        assert tail.read() == b"line"
        if isinstance(shared.mount, OurMount) and "native" in shared.mount.child.command:
            assert by_kernel(shared) == 0


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def mapped(path: Path, size: int) -> Iterator[Callable[[], bytes]]:
    """Map a file with no descriptor open: Python's own mappings keep one."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    with path.open("rb") as file:
        at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0))
    assert at != ctypes.c_void_p(-1).value
    yield lambda: ctypes.string_at(at, size)
    libc.munmap(ctypes.c_void_p(at), size)


def test_a_mapping_outlives_its_descriptor_and_evictions(mounts: Mounts, bucket: Bucket) -> None:
    """The kernel maps the cache file, and tells nobody how long: its bytes stay."""
    mount = mounts(bucket, "--passthrough", "--cache-size", "16Mi")
    path, size = mount.path / "f", 4 << 20
    content = os.urandom(size)
    path.write_bytes(content)
    with ExitStack() as stack:
        with reader(Shared(mount, bucket), path):
            look = stack.enter_context(mapped(path, size))
        _wait(lambda: not by_kernel(Shared(mount, bucket)))
        with path.open("r+b", buffering=0) as writer:
            assert writer.read(1 << 20) == content[: 1 << 20]
            (mount.path / "large").write_bytes(os.urandom(14 << 20))
            assert look() == content
