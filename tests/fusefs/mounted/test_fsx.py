"""Random I/O on one file, small and large, over remounts; at the end the object has every byte."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Mounts, Place
from tests.fusefs.mounted.test_read import MIB
from tests.mounts.mount import REPOSITORY
from tests.mounts.ours import OurMount
from tests.servers.s3 import Bucket


def exercise(
    path: Path, seed: int, steps: int, size: int, seconds: float = 100, *flags: str
) -> bytes:
    """Run the exerciser; return what the file has to have, or fail with its last steps."""
    command = [sys.executable, "-m", "tests.fusefs.mounted.fsx", str(path)]
    done = subprocess.run(
        [*command, str(seed), str(steps), str(size), *(flags or ("drop", "zeros"))],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        timeout=seconds,
    )
    last = done.stdout.decode()[-1500:]
    assert done.returncode == 0, f"seed {seed}: {last}{done.stderr.decode(errors='replace')[-800:]}"
    return done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", [100, 105])
def test_files_with_zeroed_ranges(here: Place, driver: str, first: int) -> None:
    """Ten seeds of 2 000 steps, five at once, on files of a few pages; fusepy refuses to zero
    ranges."""
    seeds = range(first, first + 5)
    flags = ("drop", "rarely", *(["zeros"] if driver == "native" else []))

    def expected(seed: int) -> bytes:
        return exercise(here / f"f{seed}", seed, 2000, 20_000, 240, *flags)

    with ThreadPoolExecutor(len(seeds)) as pool:
        left = dict(zip(seeds, pool.map(expected, seeds), strict=True))
    assert {seed: here.keys.get(f"f{seed}") for seed in left} == left


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(200, 230))
def test_many_more_files_with_zeroed_ranges(here: Place, driver: str, seed: int) -> None:
    """Thirty seeds of 10 000 steps, on files of up to 200 KB."""
    flags = ("drop", "zeros") if driver == "native" else ("drop",)
    assert exercise(here / "f", seed, 10_000, 200_000, 500, *flags) == here.keys.get("f")


@pytest.mark.one_driver
@pytest.mark.parametrize("seed", range(4))
def test_a_small_file(here: Place, seed: int) -> None:
    """Up to 300 KB: every commit is one PUT."""
    assert exercise(here / "f", seed, 250, 300_000) == here.keys.get("f")


@pytest.mark.one_driver
@pytest.mark.parametrize("seed", range(10, 12))
def test_a_file_of_several_parts(here: Place, seed: int) -> None:
    """Up to 24 MiB: commits copy what is unchanged and merge what is between."""
    assert exercise(here / "f", seed, 100, 24 * MIB) == here.keys.get("f")


@pytest.mark.one_driver
def test_over_remounts(mount: OurMount, bucket: Bucket) -> None:
    """The daemon ends and starts again between rounds, its cache directory stays."""
    for seed in range(20, 23):
        expected = exercise(mount.path / "f", seed, 80, 400_000)
        assert mount.stop() == 0
        assert bucket.get("f") == expected
        mount.restart()
        assert (mount.path / "f").read_bytes() == expected


@pytest.mark.one_driver
def test_with_a_cache_that_is_too_small(bucket: Bucket, mounts: Mounts) -> None:
    """Content is evicted all the time."""
    mount = mounts(bucket, "--cache-size", "24Mi", "--memory-limit", "16Mi")
    mount.expected.append("cache|space|disk|full")
    assert exercise(mount.path / "f", 30, 60, 16 * MIB) == bucket.get("f")


@pytest.mark.one_driver
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("size", [50_000, 2 * MIB, 40 * MIB])
def test_for_minutes(mount: OurMount, bucket: Bucket, size: int) -> None:
    """Thousands of steps."""
    steps = 6000 if size < MIB else 1200 if size < 10 * MIB else 300
    assert exercise(mount.path / "f", 99, steps, size, seconds=450) == bucket.get("f")


def test_the_exerciser_notices_a_lost_write(tmp_path: Path) -> None:
    """On a plain disk it succeeds, and with one byte changed behind its back it fails."""
    expected = exercise(tmp_path / "f", 1, 200, 300_000)
    assert (tmp_path / "f").read_bytes() == expected
    script = (
        "import sys; from tests.fusefs.mounted import fsx; e = fsx.Exerciser(sys.argv[1], 1, 9);"
        "e._model += b'x'; e.read = lambda: None; e.run(0)"
    )
    broken = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "g")],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert b"Mismatch" in broken.stderr
