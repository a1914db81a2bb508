"""Reading objects that somebody else stored, in every order and size."""

from __future__ import annotations

import hashlib
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place
from tests.servers.s3 import Bucket

MIB = 1024 * 1024
SIZES = [0, 1, 4095, 4096, 4097, 131_072, MIB - 1, MIB, MIB + 1, 8 * MIB, 17 * MIB + 13]


def content(size: int, seed: int = 1) -> bytes:
    """Return pseudo-random bytes, the same for the same arguments."""
    dice = random.Random(seed)
    # Python can't make more than 256 MiB at once.
    return b"".join(dice.randbytes(min(size - at, 16 * MIB)) for at in range(0, size, 16 * MIB))


@pytest.fixture
def large(given: Place) -> tuple[Path, bytes]:
    """A file of 40 MiB that the mount has never read."""
    data = content(40 * MIB)
    given.keys.put("large", data)
    return given / "large", data


def test_every_size_reads_back(given: Place) -> None:
    """Sizes around pages, blocks and parts; size in stat, content, and a clean end."""
    for size in SIZES:
        given.keys.put(f"f{size}", content(size, size))
    for size in SIZES:
        path = given / f"f{size}"
        assert path.stat().st_size == size
        assert path.read_bytes() == content(size, size)
        with path.open("rb") as file:
            file.seek(size)
            assert file.read(1) == b""


def test_a_large_file_streams(large: tuple[Path, bytes]) -> None:
    """More than the read-ahead window, in the block sizes programs use."""
    path, data = large
    for block in (MIB, 65_536, 1_000_003):
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while part := file.read(block):
                digest.update(part)
        assert digest.digest() == hashlib.sha256(data).digest()


def test_random_reads(large: tuple[Path, bytes]) -> None:
    """Any offset and length, ends included, without reading what lies between."""
    path, data = large
    dice = random.Random(7)
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(200):
            offset, length = dice.randrange(len(data) + 100), dice.randrange(300_000)
            assert os.pread(fd, length, offset) == data[offset : offset + length]
    finally:
        os.close(fd)


def test_backwards(large: tuple[Path, bytes]) -> None:
    """Reading from the end to the start, a megabyte at a time."""
    path, data = large
    with path.open("rb", buffering=0) as file:
        for offset in range(len(data) - MIB, -1, -MIB):
            file.seek(offset)
            assert file.read(MIB) == data[offset : offset + MIB]


def test_many_threads_share_a_descriptor_and_open_their_own(large: tuple[Path, bytes]) -> None:
    """Sixteen readers at once see the same bytes, over one descriptor and over sixteen."""
    path, data = large
    shared = os.open(path, os.O_RDONLY)

    def check(number: int) -> bool:
        dice = random.Random(number)
        own = os.open(path, os.O_RDONLY)
        try:
            for fd in (shared, own) * 8:
                offset = dice.randrange(len(data))
                if os.pread(fd, 200_000, offset) != data[offset : offset + 200_000]:
                    return False
            return True
        finally:
            os.close(own)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(check, range(16)))
    os.close(shared)
    assert all(results)


def test_many_small_files_in_listing_order(given: Place) -> None:
    """A scan over a directory, as a data loader does: each file has its own content."""
    for number in range(200):
        given.keys.put(f"{number:04}", content(1000 + number, number))
    names = sorted(os.listdir(given.path))
    assert len(names) == 200
    for name in names:
        assert (given / name).read_bytes() == content(1000 + int(name), int(name))


def test_an_object_uploaded_in_parts_reads_whole(given: Place) -> None:
    """An ETag that isn't an MD5 is no hindrance."""
    bucket = given.keys
    where = {"Bucket": bucket.name, "Key": f"{bucket.prefix}parts"}
    upload = bucket.client.create_multipart_upload(**where)["UploadId"]
    bodies = [content(5 * MIB, 1), content(5 * MIB, 2), b"end"]
    parts = [
        {
            "PartNumber": number,
            "ETag": bucket.client.upload_part(
                **where, UploadId=upload, PartNumber=number, Body=body
            )["ETag"],
        }
        for number, body in enumerate(bodies, 1)
    ]
    bucket.client.complete_multipart_upload(
        **where, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    assert (given / "parts").read_bytes() == b"".join(bodies)


def test_a_second_reading_needs_no_memory_of_the_first_mount(
    bucket: Bucket, mounts: Mounts
) -> None:
    """A restarted mount with a filled cache directory gives the object's present content."""
    bucket.put("f", content(3 * MIB, 1))
    mount = mounts(bucket)
    assert (mount.path / "f").read_bytes() == content(3 * MIB, 1)
    assert mount.stop() == 0
    bucket.put("f", content(3 * MIB, 2))
    mount.restart()
    assert (mount.path / "f").read_bytes() == content(3 * MIB, 2)
