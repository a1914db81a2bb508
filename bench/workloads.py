"""What is measured: the table of docs/benchmarks, one class of work a row.

A workload stores what it needs in a bucket (`prepare`), does its work on a fresh mount of it
(`run`), which returns how much of its unit that was, and looks at the bucket afterwards (`verify`).
All bytes are compared with what was stored: by `run`, or where comparing takes as long as reading,
by `check` on the same mount when the time is taken. `limit` is what the link itself allows.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import content
from bench.content import MIB, WrongBytes
from bench.link import LATENCY
from tests.servers.s3 import Bucket

KIB = 1 << 10
LARGE = 1024 * MIB
WRITTEN = 512 * MIB
EDITED = 256 * MIB
SMALL = 16 * KIB
RANDOM_SECONDS = 10.0
SMALL_SECONDS = 15.0  # of reading small files one by one: some take a minute for all

Prepare = Callable[[Bucket], None]
Run = Callable[[Path], float]
Verify = Callable[[Bucket], None]
Check = Callable[[Path], object]


def _nothing(_: Bucket) -> None:
    """Prepare or verify nothing."""


def _no_check(_: Path) -> None:
    """Look at nothing: `run` has compared all."""


@dataclass(frozen=True)
class Workload:
    """One row. `unit` is of what `run` returns; `rate` divides it by the seconds it took.

    Without `rate` the seconds themselves are the result, and fewer are better. `writes`: peers
    whose close() doesn't wait for S3 are no measure. `limit` is in the unit of the result.
    `attributes`: those in object metadata make a difference. `ages`: it makes one how old an answer
    of S3's may be that an open or a new name is taken from. `cached`: what is read has been read
    before. `moves`: the rate is that of bytes, so its limit is what bare connections move.
    `memory`: bytes of the kernel's that are used once before, for they hold what is read or
    written: in a cache, in the mount, in the store.
    """

    name: str
    unit: str
    run: Run
    prepare: Prepare = _nothing
    verify: Verify = _nothing
    check: Check = _no_check
    rate: bool = True
    writes: bool = False
    limit: float | None = None
    warm: Run | None = None  # done before, and not measured
    attributes: bool = False
    ages: bool = False
    cached: bool = False
    moves: bool = False
    memory: int = 0


def _large(bucket: Bucket) -> None:
    bucket.put("large", content.whole(LARGE))


def _read(path: Path, *, compared: bool) -> float:
    buffer, done = bytearray(MIB), 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            if compared:
                content.check(buffer, count, done)
            done += count
    if done != path.stat().st_size:
        raise WrongBytes(f"{path} ended after {done} bytes")
    return done / 1e6


def _read_large(root: Path) -> float:
    """Read as `cat` does; the kernel has the bytes afterwards, for `_compare_large`."""
    return _read(root / "large", compared=False)


def _compare_large(root: Path) -> float:
    """Read once more what was read, and compare it with what was stored."""
    return _read(root / "large", compared=True)


def _read_from_disk(root: Path) -> float:
    """Read what the daemon has on its disk, past what the kernel keeps of the mount."""
    with (root / "large").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _read_large(root)


def _first_byte(root: Path) -> float:
    with (root / "large").open("rb", buffering=0) as file:
        found = bytearray(file.read(1))
    content.check(found, 1, 0)
    return 1


def _randomly(size: int) -> Run:
    def run(root: Path) -> float:
        places, buffer, done = random.Random(7), bytearray(size), 0  # noqa: S311 - places to read
        descriptor = os.open(root / "large", os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        until = time.monotonic() + RANDOM_SECONDS
        while time.monotonic() < until:
            offset = places.randrange(LARGE // size) * size
            content.check(buffer, os.preadv(descriptor, [buffer], offset), offset)
            done += 1
        os.close(descriptor)
        return done * (size / MIB if size > 4 * KIB else 1)

    return run


def _growing(bucket: Bucket) -> None:
    """Have the store make room: SeaweedFS takes a second for a bucket's first object."""
    bucket.put("first", content.whole(16 * MIB))


def _write(root: Path) -> float:
    with (root / "written").open("wb", buffering=0) as file:
        for number in range(WRITTEN // MIB):
            file.write(content.block(number))
    return WRITTEN / 1e6


def _same(key: str, expected: Callable[[], bytes]) -> Verify:
    def verify(bucket: Bucket) -> None:
        if bucket.get(key) != expected():
            raise WrongBytes(f"the object {key} isn't what was written")

    return verify


def _made(number: int) -> str:
    return f"new/{number:04}"


def _create(flags: int) -> Run:
    def run(root: Path) -> float:
        (root / "new").mkdir()
        for number in range(300):
            descriptor = os.open(root / _made(number), os.O_WRONLY | os.O_CREAT | flags, 0o644)
            os.write(descriptor, content.small(number, SMALL))
            os.close(descriptor)
        return 300

    return run


def _all_made(bucket: Bucket) -> None:
    for number in (0, 150, 299):
        _same(_made(number), lambda number=number: content.small(number, SMALL))(bucket)  # type: ignore[misc]


def _many(prefix: str, count: int, size: int, per_directory: int = 0) -> Prepare:
    def prepare(bucket: Bucket) -> None:
        def put(number: int) -> None:
            folder = f"{number // per_directory:02}/" if per_directory else ""
            bucket.put(f"{prefix}/{folder}{number:05}", content.small(number, size))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(count)))

    return prepare


def _read_small(threads: int) -> Run:
    def read(path: Path) -> None:
        if path.read_bytes() != content.small(int(path.name), SMALL):
            raise WrongBytes(f"{path}")

    def one_by_one(paths: list[Path]) -> float:
        until = time.monotonic() + SMALL_SECONDS
        for number, path in enumerate(paths, 1):
            read(path)
            if time.monotonic() > until:
                return float(number)
        return float(len(paths))

    def run(root: Path) -> float:
        if threads == 1:
            return one_by_one(sorted((root / "small").iterdir()))
        paths = [root / "small" / f"{number:05}" for number in range(1000)]
        with ThreadPoolExecutor(threads) as pool:
            return float(len(list(pool.map(read, paths))))

    return run


def _look(root: Path) -> float:
    """Do what `ls -l` does."""
    return float(sum(entry.stat().st_size > 0 for entry in os.scandir(root / "listed")))


def _walk(root: Path) -> float:
    """Do what `find -type f -size +0` does."""
    found = 0
    for folder, _, names in os.walk(root / "tree"):
        found += sum(os.lstat(Path(folder) / name).st_size > 0 for name in names)
    if found != 2000:
        raise WrongBytes(f"{found} files in the tree")
    return float(found)


def _middle(bucket: Bucket) -> None:
    bucket.put("edited", content.whole(EDITED))


def _append(root: Path) -> float:
    with (root / "edited").open("ab", buffering=0) as file:
        file.write(content.block(EDITED // MIB))
    return 1


def _overwrite(root: Path) -> float:
    with (root / "edited").open("rb+", buffering=0) as file:
        file.seek(EDITED // 2)
        file.write(bytes(4 * KIB))
    return 1


def _overwritten() -> bytes:
    whole = bytearray(content.whole(EDITED))
    whole[EDITED // 2 : EDITED // 2 + 4 * KIB] = bytes(4 * KIB)
    return bytes(whole)


def _delete(root: Path) -> float:
    paths = list((root / "removed").iterdir())
    for path in paths:
        path.unlink()
    return float(len(paths))


def _gone(bucket: Bucket) -> None:
    left = [key for key in bucket.keys("removed/") if key != "removed/"]
    if left:
        raise WrongBytes(f"{len(left)} objects are still there")


def _rename(root: Path) -> float:
    (root / "edited").rename(root / "renamed")
    return 1


TRIPS = 1 / LATENCY
_SMALL_FILES = _many("small", 1000, SMALL)
WORKLOADS = (
    Workload(
        "read-cold",
        "MB/s",
        _read_large,
        _large,
        check=_compare_large,
        moves=True,
        memory=3 * LARGE,
    ),
    Workload(
        "read-from-disk",
        "MB/s",
        _read_from_disk,
        _large,
        check=_compare_large,
        warm=_read_large,
        memory=LARGE,
        cached=True,
    ),
    Workload(
        "read-hot",
        "MB/s",
        _read_large,
        _large,
        check=_compare_large,
        warm=_read_large,
        cached=True,
    ),
    Workload("first-byte", "s", _first_byte, _large, rate=False, limit=2 * LATENCY),
    Workload("random-4k", "IOPS", _randomly(4 * KIB), _large, memory=3 * LARGE),
    Workload("random-256k", "MiB/s", _randomly(256 * KIB), _large, memory=3 * LARGE),
    Workload(
        "write",
        "MB/s",
        _write,
        _growing,
        verify=_same("written", lambda: content.whole(WRITTEN)),
        writes=True,
        moves=True,
        memory=4 * WRITTEN,
    ),
    Workload(
        "create-exclusive",
        "files/s",
        _create(os.O_EXCL),
        _growing,
        verify=_all_made,
        writes=True,
        limit=TRIPS / 2,
        ages=True,
    ),
    Workload(
        "create",
        "files/s",
        _create(0),
        _growing,
        verify=_all_made,
        writes=True,
        limit=TRIPS,
        ages=True,
    ),
    Workload(
        "small-files-8",
        "files/s",
        _read_small(8),
        _SMALL_FILES,
        limit=8 * TRIPS,
        ages=True,
    ),
    Workload("small-files-1", "files/s", _read_small(1), _SMALL_FILES, limit=TRIPS, ages=True),
    Workload("ls-l", "s", _look, _many("listed", 5000, KIB), rate=False, attributes=True),
    Workload(
        "find",
        "s",
        _walk,
        _many("tree", 2000, KIB, per_directory=100),
        rate=False,
        attributes=True,
    ),
    Workload(
        "append",
        "s",
        _append,
        _middle,
        _same("edited", lambda: content.whole(EDITED + MIB)),
        rate=False,
        writes=True,
    ),
    Workload(
        "overwrite",
        "s",
        _overwrite,
        _middle,
        _same("edited", _overwritten),
        rate=False,
        writes=True,
    ),
    Workload(
        "delete",
        "files/s",
        _delete,
        _many("removed", 200, KIB),
        _gone,
        writes=True,
        limit=TRIPS,
    ),
    Workload(
        "rename",
        "s",
        _rename,
        _middle,
        _same("renamed", lambda: content.whole(EDITED)),
        rate=False,
        writes=True,
    ),
    Workload("mount", "s", lambda _: 1, rate=False),
)
