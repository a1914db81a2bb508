"""Request budgets: what an operation may cost at the S3 seam, counted exactly.

Each test brings a new directory, in a mount through the counting proxy, into the state its row
speaks of, and counts what one operation then sends. A row that says "known" has been listed and
looked at before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place, Shared
from tests.fusefs.mounted.test_read import MIB, content
from tests.proxy.exchange import Requests
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

KIB = 1024
# Whether others have made a name that a small directory's listing lacks: asked before it is made.
QUESTION = {"ListObjectsV2": 1}


@pytest.fixture
def proxy(tapped: Shared) -> Proxy:
    """The proxy of the mount that these tests share."""
    assert tapped.proxy is not None
    tapped.proxy.latency = 0
    return tapped.proxy


@pytest.fixture
def given(tapped: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory that the mount has never heard of, with a proxy behind it."""
    with tapped.place(request) as place:
        yield place


@pytest.fixture
def root(given: Place, proxy: Proxy) -> Path:
    """A directory that has a file and a directory; all of it known."""
    given.keys.put("f", content(16 * KIB))
    given.keys.put("d/")
    know(given.path)
    proxy.settle()
    return given.path


def meet(given: Place, proxy: Proxy) -> Path:
    """Let the mount know that the directory is there, not what is in it."""
    assert given.path.is_dir()
    proxy.settle()
    return given.path


def know(path: Path) -> None:
    """List a directory and look at all that is in it."""
    for entry in os.scandir(path):
        entry.stat()


@pytest.mark.parametrize(("entries", "pages"), [(1, 1), (1000, 1), (1001, 2)])
def test_ls_is_list_and_nothing_else(given: Place, proxy: Proxy, entries: int, pages: int) -> None:
    """`ls` of N entries: ceil(N/1000) LIST."""
    given.keys.put_many(f"{number:05}" for number in range(entries))
    path = meet(given, proxy)
    with proxy.counting() as seen:
        assert len(os.listdir(path)) == entries
        proxy.settle()
    assert seen.operations == {"ListObjectsV2": pages}


def test_ls_of_a_directory_just_listed(given: Place, proxy: Proxy) -> None:
    """Walking down: a known directory costs its own LIST only."""
    given.keys.put_many(f"dir/{number}" for number in range(50))
    path = given.path
    assert os.listdir(path) == ["dir"]
    proxy.settle()
    with proxy.counting() as seen:
        assert len(os.listdir(path / "dir")) == 50
        proxy.settle()
    assert seen.of("ListObjectsV2").operations == {"ListObjectsV2": 1}
    assert len(seen) <= 2, f"the marker's own attributes at most: {seen}"


@pytest.mark.savings
def test_reading_a_small_file_just_listed(given: Place, proxy: Proxy) -> None:
    """1 GET, which brings the attributes, too."""
    given.keys.put("f", content(16 * KIB))
    path = given.path
    os.listdir(path)
    proxy.settle()
    with proxy.counting() as seen:
        assert (path / "f").read_bytes() == content(16 * KIB)
        proxy.settle()
    assert seen.operations == {"GetObject": 1}
    assert seen.downloaded <= 17 * KIB


def test_reading_a_small_file_without_attributes(
    bucket: Bucket, mounts: Mounts, proxy: Proxy
) -> None:
    """With `--metadata none`: 1 GET."""
    bucket.put("f", content(16 * KIB))
    path = mounts(bucket, "--metadata", "none", endpoint=proxy.endpoint).path
    os.listdir(path)
    proxy.settle()
    with proxy.counting() as seen:
        assert (path / "f").read_bytes() == content(16 * KIB)
        proxy.settle()
    assert seen.operations == {"GetObject": 1}


def test_ls_l_without_attributes(bucket: Bucket, mounts: Mounts, proxy: Proxy) -> None:
    """With `--metadata none` a listing tells all: no HEAD."""
    bucket.put_many(f"f{number}" for number in range(30))
    path = mounts(bucket, "--metadata", "none", endpoint=proxy.endpoint).path
    proxy.settle()
    with proxy.counting() as seen:
        know(path)
        proxy.settle()
    assert seen.operations == {"ListObjectsV2": 1}


def test_reading_again_asks_at_most_whether_it_changed(root: Path, proxy: Proxy) -> None:
    """A file that is in the cache is not downloaded a second time."""
    (root / "f").read_bytes()
    proxy.settle()
    with proxy.counting() as seen:
        assert (root / "f").read_bytes() == content(16 * KIB)
        proxy.settle()
    assert seen.downloaded == 0, "a conditional GET is fine, it answers 304"
    assert len(seen) <= 1


@pytest.mark.parametrize(("name", "exists"), [("a-name", False), ("f", True)])
def test_stat_of_a_name_not_cached(given: Place, proxy: Proxy, name: str, exists: bool) -> None:
    """1 HEAD, or GET of the first bytes, and 1 LIST, at the same time."""
    given.keys.put("f", b"x")
    path = meet(given, proxy)
    proxy.latency = 0.5
    with proxy.counting() as seen:
        began = monotonic()
        assert (path / name).exists() is exists
        took = monotonic() - began
        proxy.settle()
    assert seen.operations in [
        {each: 1, "ListObjectsV2": 1} for each in ("HeadObject", "GetObject")
    ]
    assert took < 0.9, "one after the other"


@pytest.mark.savings
def test_creating_a_small_file(root: Path, proxy: Proxy) -> None:
    """create, write, close in a known directory: 1 PUT, which overwrites nobody, and a question."""
    with proxy.counting() as seen:
        (root / "new").write_bytes(content(16 * KIB))
        proxy.settle()
    assert seen.operations == {**QUESTION, "PutObject": 1}
    assert seen.of("PutObject")[0].condition == "If-None-Match: *"


def test_replacing_a_small_file(root: Path, proxy: Proxy, given: Place) -> None:
    """Open with O_TRUNC, write, close: 1 PUT that only replaces what we knew."""
    etag = given.keys.etag("f")
    with proxy.counting() as seen:
        (root / "f").write_bytes(b"new")
        proxy.settle()
    assert len(seen.of("PutObject")) == 1
    assert seen.of("PutObject")[0].condition == f"If-Match: {etag}"
    assert len(seen) <= 2, f"one question at open whether it changed: {seen}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", [80, pytest.param(256, marks=pytest.mark.soak)])
def test_appending_to_a_large_object(given: Place, proxy: Proxy, size: int) -> None:
    """1 MiB to so many: create, copies, one part, complete; no old data beyond one part."""
    old, new = content(size * MIB), content(MIB, 2)
    given.keys.put("f", old)
    know(given.path)
    proxy.settle()
    with proxy.counting() as seen:
        with (given / "f").open("ab") as file:
            file.write(new)
        proxy.settle()
    steps = seen.operations
    assert steps.pop("UploadPartCopy") >= 1
    assert steps.pop("GetObject", 0) + steps.pop("HeadObject", 0) <= 2
    assert steps == {"CreateMultipartUpload": 1, "UploadPart": 1, "CompleteMultipartUpload": 1}
    assert seen.of("GetObject").downloaded <= 16 * MIB
    assert seen.uploaded <= 17 * MIB
    assert seen.of("CompleteMultipartUpload")[0].condition is not None
    assert given.keys.get("f") == old + new


def test_editing_in_the_middle_of_a_large_object(given: Place, proxy: Proxy) -> None:
    """Ten bytes in 64 MiB: the parts around them are copied by the store."""
    given.keys.put("f", content(64 * MIB))
    path = given.path
    know(path)
    with proxy.counting() as seen:
        with (path / "f").open("rb+", buffering=0) as file:
            file.seek(32 * MIB)
            file.write(b"0123456789")
        proxy.settle()
    assert seen.of("UploadPart").uploaded <= 16 * MIB
    assert seen.downloaded <= 17 * MIB
    assert len(seen.of("UploadPartCopy")) >= 2
    expected = bytearray(content(64 * MIB))
    expected[32 * MIB : 32 * MIB + 10] = b"0123456789"
    assert given.keys.get("f") == bytes(expected)


def one(proxy: Proxy, call: Callable[[], object]) -> Requests:
    """Return the requests of one call and of what it leaves running."""
    with proxy.counting() as seen:
        call()
        proxy.settle()
    return seen


def test_chmod_of_a_known_file(root: Path, proxy: Proxy) -> None:
    """1 copy, onto itself."""
    assert one(proxy, lambda: (root / "f").chmod(0o600)).operations == {"CopyObject": 1}


def test_touch_and_chown_of_a_known_file(root: Path, proxy: Proxy) -> None:
    """1 copy each."""
    assert one(proxy, lambda: os.utime(root / "f", (1, 1))).operations == {"CopyObject": 1}
    assert one(proxy, lambda: os.chown(root / "f", 1, 1)).operations == {"CopyObject": 1}


@pytest.mark.savings
def test_rename_of_a_known_file(root: Path, proxy: Proxy) -> None:
    """Is there a target, 1 copy and 1 delete; no content comes through here."""
    seen = one(proxy, lambda: (root / "f").rename(root / "g"))
    assert seen.operations == {**QUESTION, "CopyObject": 1, "DeleteObject": 1}
    assert [exchange.operation for exchange in seen][1:] == ["CopyObject", "DeleteObject"]


@pytest.mark.savings
def test_mkdir_rmdir_unlink(root: Path, proxy: Proxy) -> None:
    """Is it there and 1 PUT; 1 LIST and 1 DELETE; 1 DELETE."""
    made = one(proxy, lambda: (root / "new").mkdir())
    assert made.operations == {**QUESTION, "PutObject": 1}
    removed = one(proxy, lambda: (root / "new").rmdir()).operations
    assert removed == {"ListObjectsV2": 1, "DeleteObject": 1}
    assert one(proxy, lambda: (root / "f").unlink()).operations == {"DeleteObject": 1}


# The kernel wants to know the kind of what it removes. A small object could be a symbolic link:
# only its attributes tell. libfuse 2 asks for all attributes with each name it looks up.
@pytest.mark.parametrize(
    ("size", "looked", "heads"),
    [
        pytest.param(5000, False, 0, id="no-link"),
        pytest.param(10, True, 0, id="known"),
        pytest.param(10, False, 300, id="unknown"),
    ],
)
def test_rm_rf(
    given: Place, proxy: Proxy, driver: str, size: int, looked: bool, heads: int
) -> None:
    """One DELETE per key and LISTs: no HEAD, but of small files nobody has looked at."""
    keys = given.keys.under("tree/")
    keys.put_many((f"{number % 3}/{number}" for number in range(300)), content(size))
    path = given.path
    os.listdir(path)
    for directory, _, _ in os.walk(path) if looked else []:
        know(Path(directory))
    proxy.settle()
    seen = one(proxy, lambda: shutil.rmtree(path / "tree"))
    deleted = [exchange.key for exchange in seen.of("DeleteObject")]
    assert sorted(key for key in deleted if not key.endswith("/")) == sorted(
        f"{keys.prefix}{number % 3}/{number}" for number in range(300)
    )
    assert len(deleted) == len(set(deleted)), "the same key twice"
    # A GET is in place of a HEAD until it is clear that nobody opens these files.
    asked = [*seen.of("HeadObject"), *seen.of("GetObject")]
    files = [exchange.key for exchange in asked if exchange.key[-1] != "/"]
    assert len(files) <= (300 if driver == "fusepy" else heads)
    assert len(seen.of("GetObject")) <= 30
    assert set(seen.operations) - {"HeadObject", "GetObject"} == {"DeleteObject", "ListObjectsV2"}
    assert seen.operations["ListObjectsV2"] <= 8


def test_ls_l_again_after_the_ttl(bucket: Bucket, mounts: Mounts, proxy: Proxy) -> None:
    """Nothing changed: LISTs only, for attributes are remembered by key and ETag."""
    bucket.put_many(f"f{number}" for number in range(40))
    path = mounts(bucket, "--attr-ttl", "1", endpoint=proxy.endpoint).path
    first = one(proxy, lambda: know(path))
    assert first.operations["HeadObject"] <= 40
    sleep(1.5)
    again = one(proxy, lambda: know(path))
    assert set(again.operations) == {"ListObjectsV2"}


@pytest.mark.savings
def test_ls_l_asks_for_attributes_in_parallel(given: Place, proxy: Proxy) -> None:
    """A stat scan over 40 files with 0.1 s per request takes much less than 4 s."""
    given.keys.put_many(f"f{number:02}" for number in range(40))
    path = meet(given, proxy)
    proxy.latency = 0.1
    began = monotonic()
    know(path)
    assert monotonic() - began < 2.5


def test_stat_within_the_ttl_costs_nothing(root: Path, proxy: Proxy) -> None:
    """What is known isn't asked again, existing or not."""
    (root / "nothing").exists()
    with proxy.counting() as seen:
        know(root)
        assert not (root / "nothing").exists()
        os.statvfs(root)
        proxy.settle()
    assert len(seen) == 0


def test_copying_inside_the_mount_moves_no_bytes(given: Place, proxy: Proxy, driver: str) -> None:
    """copy_file_range of a whole file is done by the store."""
    if driver == "fusepy":
        pytest.skip("libfuse 2 can't be asked: the kernel reads and writes instead")
    given.keys.put("f", content(24 * MIB))
    path = given.path
    know(path)

    def copy() -> None:
        with (path / "f").open("rb") as source, (path / "g").open("wb") as target:
            while os.copy_file_range(source.fileno(), target.fileno(), 24 * MIB):
                pass

    seen = one(proxy, copy)
    assert given.keys.get("g") == content(24 * MIB)
    assert seen.downloaded < MIB
    assert seen.uploaded < MIB


def test_streaming_downloads_each_byte_once(given: Place, proxy: Proxy) -> None:
    """Sequential reading of 48 MiB: read ahead, nothing twice, in pieces of sensible size."""
    given.keys.put("f", content(48 * MIB))
    path = meet(given, proxy)

    def stream() -> None:
        with (path / "f").open("rb", buffering=0) as file:
            while file.read(128 * KIB):
                pass

    seen = one(proxy, stream)
    assert 48 * MIB <= seen.of("GetObject").downloaded <= 50 * MIB
    assert len(seen.of("GetObject")) <= 64
    assert all("if-match" in exchange.headers for exchange in seen.of("GetObject")[1:])
