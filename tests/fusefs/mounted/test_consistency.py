"""Close-to-open, one version per open file, and of two writers one is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place, Shared
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.mount import Mount
from tests.mounts.ours import OurMount
from tests.servers.s3 import Bucket


@pytest.fixture
def pair(bucket: Bucket, mounts: Mounts) -> tuple[OurMount, OurMount]:
    """Two mounts of one bucket, as in two pods, with the default trust in what they know."""
    return mounts(bucket), mounts(bucket)


def test_what_one_closed_the_other_opens(pair: tuple[OurMount, OurMount]) -> None:
    """Also when the other one has read, and cached, the version before."""
    here, there = pair
    (here.path / "f").write_bytes(b"first version")
    assert (there.path / "f").read_bytes() == b"first version"
    (here.path / "f").write_bytes(b"second, and longer version")
    assert (there.path / "f").read_bytes() == b"second, and longer version"
    (there.path / "f").write_bytes(b"third")
    assert (here.path / "f").read_bytes() == b"third"


def test_an_object_replaced_by_others_is_seen_by_the_next_open(given: Place) -> None:
    """Within the TTL: open asks."""
    given.keys.put("f", content(2 * MIB, 1))
    assert (given / "f").read_bytes() == content(2 * MIB, 1)
    given.keys.put("f", content(2 * MIB, 2))
    assert (given / "f").read_bytes() == content(2 * MIB, 2)
    given.keys.put("f", b"short")
    assert (given / "f").read_bytes() == b"short"
    assert (given / "f").stat().st_size == 5


def test_names_of_others_appear_after_the_ttl(bucket: Bucket, mounts: Mounts) -> None:
    """Listings, attributes and misses are trusted for `--attr-ttl`, and no longer."""
    root = mounts(bucket, "--attr-ttl", "1").path
    assert not (root / "f").exists()
    assert os.listdir(root) == []
    bucket.put("f", b"content")
    sleep(1.5)
    assert (root / "f").exists()
    assert os.listdir(root) == ["f"]
    bucket.delete("f")
    sleep(1.5)
    assert not (root / "f").exists()
    assert os.listdir(root) == []


def test_a_reader_never_sees_two_versions_mixed(given: Place) -> None:
    """Replaced under an open file: the old bytes or ESTALE, never the new ones."""
    old, new = content(40 * MIB, 1), content(40 * MIB, 2)
    given.keys.put("f", old)
    stale = False
    with (given / "f").open("rb", buffering=0) as file:
        assert file.read(1000) == old[:1000]
        given.keys.put("f", new)
        for offset in (30 * MIB, 39 * MIB, 10 * MIB, 20 * MIB):
            try:
                assert os.pread(file.fileno(), 5000, offset) == old[offset : offset + 5000]
            except OSError as error:
                assert error.errno == errno.ESTALE
                stale = True
    assert stale, "40 MiB can't all have been read ahead"
    assert (given / "f").read_bytes() == new


def test_a_reader_of_a_removed_object(given: Place) -> None:
    """Removed by others while open: old bytes or ESTALE, then ENOENT by name."""
    given.keys.put("f", content(40 * MIB))
    with (given / "f").open("rb", buffering=0) as file:
        file.read(1000)
        given.keys.delete("f")
        try:
            read = os.pread(file.fileno(), 1000, 39 * MIB)
            assert read == content(40 * MIB)[39 * MIB : 39 * MIB + 1000]
        except OSError as error:
            assert error.errno == errno.ESTALE
    with pytest.raises(FileNotFoundError):
        (given / "f").read_bytes()


def lost(mount: Mount) -> set[Path]:
    """Return the files with what was kept of the writes that lost."""
    assert isinstance(mount, OurMount)
    return {path for path in mount.cache.rglob("conflicts/**/*") if path.is_file()}


Write = Callable[[Path], None]


def rewrite(path: Path) -> None:
    """Replace all of it."""
    path.write_bytes(b"from here")


def append(path: Path) -> None:
    """Add to its end."""
    with path.open("ab") as file:
        file.write(b"from here")


def edit(path: Path) -> None:
    """Change bytes within."""
    with path.open("rb+") as file:
        file.write(b"from here")


@pytest.fixture
def contested(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory whose files others change, too; the daemon may say so."""
    with shared.place(request, "conflict", "changed", "replaced") as place:
        yield place


@pytest.mark.parametrize("change", [rewrite, append, edit])
@pytest.mark.parametrize("size", [100, 20 * MIB])
def test_the_loser_of_two_writers_is_told_and_its_bytes_are_kept(
    shared: Shared, contested: Place, change: Write, size: int
) -> None:
    """Replaced by others between open and close: ESTALE, the store keeps what others wrote."""
    contested.keys.put("f", content(size))
    before = lost(shared.mount)
    with pytest.raises(OSError) as caught:
        interrupted(contested.keys, contested / "f", change)
    assert caught.value.errno == errno.ESTALE
    assert contested.keys.get("f") == b"from others"
    kept = [path.read_bytes() for path in lost(shared.mount) - before]
    assert any(b"from here" in each for each in kept), "the loser's bytes are gone"
    assert f'"{contested.keys.prefix}f"' in shared.mount.said(), "the log doesn't name the file"


def interrupted(bucket: Bucket, path: Path, change: Write) -> None:
    """Change a file that others replace between open and close."""

    class Interrupted(type(path)):  # type: ignore[misc]  # the platform's class of paths
        def open(self, *arguments: object, **named: object) -> object:
            file = super().open(*arguments, **named)
            bucket.put("f", b"from others")
            return file

    change(Interrupted(path))


def test_two_creators_of_one_name(pair: tuple[OurMount, OurMount], bucket: Bucket) -> None:
    """O_EXCL is real across mounts: of each name exactly one creator succeeds, and it is stored."""
    for mount in pair:
        mount.expected.append("conflict|changed|replaced|exist")

    def create(mount: OurMount, name: str) -> bool:
        try:
            fd = os.open(mount.path / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        try:
            os.write(fd, str(mount.child.pid).encode())
        finally:
            try:
                os.close(fd)
            except OSError as error:
                assert error.errno in (errno.ESTALE, errno.EEXIST)
                return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            name = f"lock{number}"
            won = list(pool.map(create, pair, (name, name)))
            assert won.count(True) == 1, f"{name}: {won}"
            winner = pair[won.index(True)]
            assert bucket.get(name) == str(winner.child.pid).encode()


def test_two_appenders_in_two_mounts(pair: tuple[OurMount, OurMount], bucket: Bucket) -> None:
    """Every append that was acknowledged is in the object; the others were told."""
    for mount in pair:
        mount.expected.append("conflict|changed|replaced")
    bucket.put("log", b"")
    acknowledged: list[bytes] = []

    def writer(mount: OurMount, letter: str) -> None:
        for number in range(15):
            record = f"{letter}{number:02}\n".encode()
            try:
                with (mount.path / "log").open("ab", buffering=0) as file:
                    file.write(record)
            except OSError as error:
                assert error.errno == errno.ESTALE
            else:
                acknowledged.append(record)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(writer, pair, "ab"))
    stored = bucket.get("log").splitlines(keepends=True)
    assert sorted(stored) == sorted(acknowledged)
    assert len(acknowledged) >= 15, "at least one of them gets through each time"


def test_two_appenders_in_one_mount(here: Place) -> None:
    """Neither is told anything, and every line of both is in the object."""

    def writer(letter: str) -> None:
        for number in range(20):
            with (here / "log").open("ab", buffering=0) as file:
                file.write(f"{letter}{number:02}\n".encode())

    (here / "log").touch()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(writer, "ab"))
    assert len(here.keys.get("log").split()) == 40


def test_overwrite_mode_lets_the_last_one_win(bucket: Bucket, mounts: Mounts) -> None:
    """`--on-conflict overwrite`: no error, the later close is what is stored."""
    mount = mounts(bucket, "--on-conflict", "overwrite")
    mount.expected.append("conflict|overw")
    bucket.put("f", b"old")
    interrupted(bucket, mount.path / "f", rewrite)
    assert bucket.get("f") == b"from here"


def test_our_own_changes_are_seen_at_once(here: Place) -> None:
    """No TTL stands between a program and what it did itself."""
    for number in range(20):
        path = here / f"f{number % 3}"
        path.write_bytes(b"x" * number)
        assert path.stat().st_size == number
        assert path.name in os.listdir(here.path)
        path.unlink()
        assert not path.exists()
        assert path.name not in os.listdir(here.path)


def test_a_directory_stays_as_long_as_something_unsent_is_in_it(
    lenient_bucket: Bucket, mounts: Mounts
) -> None:
    """Others remove its last object; the file that is still written is found under its name.

    With a store whose directories go with their last key.
    """
    mount = mounts(lenient_bucket, "--attr-ttl", "0.1", "--negative-ttl", "0.1")
    lenient_bucket.put("d/e/old", b"x")
    with (mount.path / "d/e/new").open("wb", buffering=0) as file:
        file.write(b"hello")
        lenient_bucket.delete("d/e/old")
        sleep(0.2)
        assert (mount.path / "d/e/new").stat().st_size == 5
        assert os.listdir(mount.path) == ["d"]
        assert os.listdir(mount.path / "d/e") == ["new"]
        with (mount.path / "d/e/new").open("ab") as other:
            other.write(b" again")
    assert lenient_bucket.get("d/e/new") == b"hello again"


def test_a_store_without_preconditions(degraded_bucket: Bucket, mounts: Mounts) -> None:
    """It is detected, reported once, and used."""
    mount = mounts(degraded_bucket)
    mount.expected.append("condition")
    for number in range(3):
        (mount.path / "f").write_bytes(b"%d" % number)
    (mount.path / "big").write_bytes(content(20 * MIB))
    assert degraded_bucket.get("f") == b"2"
    assert degraded_bucket.get("big") == content(20 * MIB)
    warnings = [line for line in mount.said().splitlines() if "condition" in line.lower()]
    assert len(warnings) == 1
