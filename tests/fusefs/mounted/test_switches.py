"""One story with each optimisation switched the other way: what programs see stays the same.

The same steps are done in a plain directory; all that is read, listed and left must be equal there,
in the mount, and as objects. Single optimisations have tests of their own; here is what no test of
one looks at: that no other relies on it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_read import content
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

MIB = 1 << 20
COLD, DICE, MADE = 6 * MIB + 77, 12 * MIB + 77, 10 * MIB + 77
# Files above 5 MiB have parts of that size; of those above 10 some are sent while they are written.
PARTS = ("-o", "multipart_threshold=5,multipart_size=5")
BLOCK = 128 << 10
# Two at a time, one that is about names and one about bytes, to save mounts. Drivers, the node's
# cache and passthrough have suites that run both ways.
SWITCHES = {
    "no lists, no fast path": ("--without", "lists", "--sdk-only"),
    "no opens, no background fill": ("--without", "opens,heads", "--background-fill", "0"),
    "no walks, nothing sent ahead": (
        *("--without", "walks,slabs,readahead"),
        *("-o", "multipart_threshold=64"),
    ),
    "sweeps, little memory": ("--content-ttl", "60s", "--memory-limit", "16Mi"),
    "nothing kept, little at once": (
        *("--attr-ttl", "0s", "--negative-ttl", "0s"),
        *("-o", "parallel_count=1,multireq_max=1"),
    ),
    "no attributes stored": ("--metadata", "none"),
}


def given() -> dict[str, bytes]:
    """What others have stored before the mount begins."""
    large = {"cold": content(COLD, 7), "dice": content(DICE, 8)}
    small = {f"small/{number:02}": content(900 + number, number) for number in range(24)}
    deep = {f"tree/{top}/{leaf}": content(64, top) for top in range(4) for leaf in "ab"}
    return large | small | deep


def read_here_and_there(path: Path) -> Iterator[bytes]:
    """Read pages of a file in a drawn order."""
    with path.open("rb", buffering=0) as file:
        for place in Random(5).sample(range(MADE // 4096), 24):
            yield os.pread(file.fileno(), 4096, place * 4096)


def change(path: Path, offset: int, data: bytes) -> None:
    """Write in place."""
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), data, offset)


def names(root: Path) -> list[str]:
    """List the files below a directory, with their sizes; SeaweedFS keeps empty directories."""
    return sorted(
        f"{Path(top, name).relative_to(root)} {Path(top, name).stat().st_size}"
        for top, _, leaves in os.walk(root)
        for name in leaves
    )


def read(root: Path) -> Iterator[object]:
    """Yield what a program that only reads sees."""
    yield from read_here_and_there(root / "dice")
    yield (root / "cold").read_bytes()
    small = sorted(os.listdir(root / "small"))
    for name in (*small, *reversed(small)):
        yield name, (root / "small" / name).read_bytes()
    yield [(root / name).exists() for name in ("made", "small/24", "small/00/below", "nowhere/x")]
    yield names(root)


def write(root: Path) -> Iterator[object]:
    """Yield what a program sees of what it changes."""
    made, whole = root / "made", content(MADE, 3)
    with made.open("xb", buffering=0) as file:
        for at in range(0, MADE, MIB):
            file.write(whole[at : at + MIB])
    yield made.read_bytes()
    change(made, 2 * MIB - 5, b"overwritten")
    yield from read_here_and_there(made)
    os.truncate(made, 6 * MIB + 3)
    yield made.read_bytes()
    with (root / "cold").open("ab") as file:
        file.write(b"appended" * 999)
    yield (root / "cold").read_bytes()
    change(root / "dice", DICE // 2, bytes(4096))
    yield from read_here_and_there(root / "dice")
    (root / "small" / "03").write_bytes(b"replaced")
    (root / "small" / "24").write_bytes(b"new")
    (root / "small" / "05").unlink()
    yield [(root / "small" / name).exists() for name in ("03", "05", "24")]


def move(root: Path) -> Iterator[object]:
    """Yield what a program sees of names that it changes."""
    (root / "made").rename(root / "small" / "moved")
    (root / "small" / "03").rename(root / "small" / "04")
    (root / "tree" / "1").rename(root / "tree" / "other")
    yield (root / "small" / "04").read_bytes(), (root / "tree" / "other" / "a").read_bytes()
    (root / "tree" / "fresh").mkdir()
    shutil.rmtree(root / "tree" / "2")
    yield names(root)


def story(root: Path) -> list[object]:
    """Return all that is seen of a directory with what is `given`."""
    return [*read(root), *write(root), *move(root)]


def files(root: Path) -> dict[str, bytes]:
    """Return the files below a directory."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], dict[str, bytes]]:
    """What is seen of the story in a plain directory, and what it leaves there."""
    root = tmp_path_factory.mktemp("plain")
    for name, data in given().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return story(root), files(root)


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_story_is_the_same_with_each_switch(
    switch: str,
    bucket: Bucket,
    mounts: Mounts,
    plain: tuple[list[object], dict[str, bytes]],
) -> None:
    """Written, read in order and at random, appended, overwritten, cut, renamed, listed, swept."""
    for name, data in given().items():
        bucket.put(name, data)
    mount = mounts(bucket, *PARTS, *SWITCHES[switch])
    seen, left = plain
    for number, (here, there) in enumerate(zip(story(mount.path), seen, strict=True)):
        assert here == there, f"step {number}"
    stored = [key for key in bucket.keys() if not key.endswith("/")]  # noqa: SIM118 - a method
    assert {key: bucket.get(key) for key in stored} == left


def test_what_is_switched_off_is_not_requested(
    bucket: Bucket, mounts: Mounts, proxy: Proxy
) -> None:
    """Neither bytes behind those that are read nor attributes of the next names."""
    bucket.put_many(f"many/{number:02}" for number in range(40))
    bucket.put("large", content(4 * MIB))
    root = mounts(bucket, "--without", "heads,readahead", endpoint=proxy.endpoint).path
    names = sorted(os.listdir(root / "many"))
    with proxy.counting() as seen:
        for name in names[:6]:
            (root / "many" / name).stat()
        proxy.settle()
    assert seen.operations == {"HeadObject": 6}
    with (root / "large").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # nor does the kernel
        os.pread(file.fileno(), BLOCK, 0)
        with proxy.counting() as seen:
            for at in range(BLOCK, 6 * BLOCK, BLOCK):
                assert len(os.pread(file.fileno(), BLOCK, at)) == BLOCK
            proxy.settle()
    assert seen.operations == {"GetObject": 5}
