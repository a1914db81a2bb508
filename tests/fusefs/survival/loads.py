"""What applications do to a mount while its processes are killed, each a program of its own.

    python -m tests.fusefs.survival.loads NAME DIRECTORY STOP

Each works below DIRECTORY in rounds until the file STOP is there, ends with an exception at the
first wrong byte or failed call, and prints what it did as one JSON object. The content of files
follows from their names, so that who looks at the bucket afterwards knows what has to be there.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20


def content(name: str, size: int) -> bytes:
    """Return the content of a file of this name."""
    return random.Random(name).randbytes(size)


def digest(data: bytes) -> str:
    """Return what two contents are compared by."""
    return hashlib.sha256(data).hexdigest()


def direct(path: Path) -> int:
    """Open a file for reads that all reach the worker."""
    return os.open(path, os.O_RDONLY | os.O_DIRECT)


def sequential(place: Path, going: Callable[[], bool]) -> dict[str, object]:
    """Read a file from its beginning to its end, over and over, and check every byte."""
    expected = digest(content("file", (place / "file").stat().st_size))
    buffer = mmap.mmap(-1, 256 << 10)
    passes = 0
    while going():
        file, offset, seen = direct(place / "file"), 0, hashlib.sha256()
        while got := os.preadv(file, [buffer], offset):
            seen.update(buffer[:got])
            offset += got
        os.close(file)
        assert seen.hexdigest() == expected
        passes += 1
    return {"passes": passes}


def scattered(place: Path, going: Callable[[], bool]) -> dict[str, object]:
    """Read pieces at random, through one descriptor that stays open, and check every byte."""
    expected = content("file", (place / "file").stat().st_size)
    device, reads, dice = direct(place / "file"), 0, random.Random(1)
    while going():
        start = dice.randrange(len(expected))
        length = dice.randrange(1, 128 << 10)
        assert os.pread(device, length, start) == expected[start : start + length]
        reads += 1
    return {"reads": reads}


def untar(place: Path, going: Callable[[], bool]) -> dict[str, object]:
    """Unpack an archive of small files with tar, again into a new directory."""
    count = int(os.environ["FILES"])
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory, "archive.tar")
        with tarfile.open(archive, "w") as tar:
            for number in range(count):
                source = Path(directory, "file")
                source.write_bytes(content(f"{number}", number % 5000))
                tar.add(source, f"{number % 20}/{number}")
        rounds = 0
        while going():
            (place / f"{rounds}").mkdir()
            subprocess.run(["tar", "xf", archive, "-C", place / f"{rounds}"], check=True)
            rounds += 1
    return {"rounds": rounds}


def append(place: Path, going: Callable[[], bool]) -> dict[str, object]:
    """Append lines to a file, each brought to S3 by fsync."""
    lines = 0
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    while going():
        assert os.write(log, b"%d\n" % lines) == len(b"%d\n" % lines)
        os.fsync(log)
        lines += 1
    os.close(log)
    return {"lines": lines}


def copy(place: Path, going: Callable[[], bool]) -> dict[str, object]:
    """Copy a large file into the mount with cp."""
    rounds = 0
    with tempfile.NamedTemporaryFile() as source:
        source.write(content("copy", int(os.environ["BYTES"])))
        source.flush()
        while going():
            subprocess.run(["cp", source.name, place / f"copy{rounds % 2}"], check=True)
            rounds += 1
    return {"rounds": rounds}


def pulse(place: Path, going: Callable[[], bool]) -> dict[str, object]:
    """Read a byte every now and then; tell the longest time that one took, in seconds."""
    file, longest = direct(place / "pulse"), 0.0
    while going():
        began = time.monotonic()
        assert os.pread(file, 1, 0) == b"p"
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.02)
    return {"longest": longest}


def rename(place: Path, going: Callable[[], bool]) -> dict[str, object]:
    """Rename a directory again and again; all its files are there each time, under one name."""
    names = files(place / "0")
    rounds = 0
    while going():
        os.rename(place / f"{rounds}", place / f"{rounds + 1}")
        rounds += 1
        assert files(place / f"{rounds}") == names
        # SeaweedFS goes on to list a directory that lost its files before its marker.
        assert files(place / f"{rounds - 1}") == []
    return {"rounds": rounds}


def files(place: Path) -> list[str]:
    """Return the paths of all files below a directory."""
    return sorted(
        os.path.relpath(Path(root, name), place)
        for root, _, names in os.walk(place)
        for name in names
    )


LOADS = {
    load.__name__: load for load in (sequential, scattered, untar, append, copy, rename, pulse)
}


def main(name: str, place: str, stop: str) -> None:
    """Run one load, once at least."""
    begun = False

    def going() -> bool:
        nonlocal begun
        first, begun = not begun, True
        return first or not Path(stop).exists()

    print(json.dumps(LOADS[name](Path(place), going)))


if __name__ == "__main__":
    main(*sys.argv[1:])
