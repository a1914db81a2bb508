"""The same small life of files on every kind of store: see `docs/stores.md`."""

from __future__ import annotations

import pytest

from tests.fusefs.s3.conftest import MIB, Open, Quirky
from tests.stores.quirks import PROFILES, Quirk


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that differ from place to place."""
    block = bytes((seed + 7 * at) % 251 for at in range(4099))
    return (block * (size // len(block) + 1))[:size]


@pytest.fixture(params=PROFILES)
def fs(quirky: Open, request: pytest.FixtureRequest) -> Quirky:
    """A filesystem over a store of each profile."""
    return quirky(*PROFILES[request.param])


def test_small_files(fs: Quirky) -> None:
    """Create, append, replace, chmod, rename, list and remove."""
    files, stored = fs.files, fs.store.contents
    files.create("a", b"one")
    files.append("a", b" two")
    files.chmod("a", 0o600)
    assert (files.read("a"), files.stat("a").mode & 0o777) == (b"one two", 0o600)
    files.create("b", b"other")
    files.rename("a", "b")
    assert stored.get("b") == b"one two"
    assert files.names() == ["b"]
    files.unlink("b")
    assert stored.keys() == []


def test_large_files(fs: Quirky) -> None:
    """Many parts: written, changed in the middle, appended to, and by another rule of sizes."""
    files, stored = fs.files, fs.store.contents
    data = bytearray(content(13 * MIB + 5))
    files.create("f", bytes(data))
    assert stored.get("f") == data
    files.patch("f", 6 * MIB, b"changed")
    data[6 * MIB : 6 * MIB + 7] = b"changed"
    assert stored.get("f") == data
    files.append("f", b"tail")
    assert stored.get("f") == data + b"tail"
    assert files.read("f") == data + b"tail"
    assert stored.uploads == {}


def test_directories(fs: Quirky) -> None:
    """Made, filled, listed, renamed with all below, and removed."""
    files, stored = fs.files, fs.store.contents
    files.mkdir("d")
    files.mkdir("d/below")
    names = [f"n{number}" for number in range(5)]
    for name in names:
        files.create(f"d/{name}", name.encode())
    files.create("d/below/x", b"x")
    assert files.names("d") == ["below", *names]
    files.rename("d", "e")
    assert stored.keys() == ["e/", "e/below/", "e/below/x", *(f"e/{name}" for name in names)]
    assert {name: files.read(f"e/{name}") for name in names} == {n: n.encode() for n in names}
    for name in (*names, "below/x"):
        files.unlink(f"e/{name}")
    files.rmdir("e/below")
    files.rmdir("e")
    assert stored.keys() == []


@pytest.mark.parametrize("quirk", [Quirk.EQUAL_PARTS, Quirk.DIRECTORY_BUCKET])
def test_a_file_sent_while_it_was_written(quirky: Open, quirk: Quirk) -> None:
    """Parts that went ahead are of one size, too, and numbered without gaps."""
    fs = quirky(quirk)
    data = content(6 * MIB + 3)
    fs.store.contents.put("f", data)
    more = content(22 * MIB + 17, 5)
    fs.files.append("f", more)
    assert fs.store.contents.get("f") == data + more
    assert fs.proxy.requests.operations["CompleteMultipartUpload"] == 2  # one is the probe's
    assert fs.proxy.requests.operations["UploadPartCopy"] == 1
