"""What applications do to a mount while its processes are killed, each a program of its own.

    python -m tests.fusefs.survival.loads NAME DIRECTORY SIZE STOP

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
DIRECTORIES = 20

Did = dict[str, int]


@dataclass(frozen=True)
class Load:
    """`run(place, size, going)` works; `given(size)` is what has to be there, name -> content.

    `left(size, did)` is what the bucket holds in the end, name -> digest.
    """

    run: Callable[[Path, int, Callable[[], bool]], Did]
    left: Callable[[int, Did], Mapping[str, str]]
    given: Callable[[int], Mapping[str, bytes]] = lambda _: {}


def pieces(name: str, size: int) -> Iterator[bytes]:
    """Yield the content of a file of this name, a piece at a time."""
    for start in range(0, size, MIB):
        yield random.Random(f"{name} {start}").randbytes(min(MIB, size - start))


def content(name: str, size: int) -> bytes:
    """Return the content of a file of this name."""
    return b"".join(pieces(name, size))


def digest(blocks: Iterable[bytes]) -> str:
    """Return what two contents are compared by."""
    seen = hashlib.sha256()
    for block in blocks:
        seen.update(block)
    return seen.hexdigest()


def direct(path: Path) -> int:
    """Open a file for reads that all reach the worker."""
    return os.open(path, os.O_RDONLY | os.O_DIRECT)


def sequential(place: Path, size: int, going: Callable[[], bool]) -> Did:
    """Read a file from its beginning to its end, over and over, and check every byte."""
    expected = digest(pieces("file", size))
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


def scattered(place: Path, size: int, going: Callable[[], bool]) -> Did:
    """Read pieces at random, through one descriptor that stays open, and check every byte."""
    expected = content("file", size)
    file, reads, dice = direct(place / "file"), 0, random.Random(1)
    while going():
        start = dice.randrange(size)
        length = dice.randrange(1, 128 << 10)
        assert os.pread(file, length, start) == expected[start : start + length]
        reads += 1
    return {"reads": reads}


def untar(place: Path, size: int, going: Callable[[], bool]) -> Did:
    """Unpack an archive of `size` small files with tar, again into a new directory."""
    rounds = 0
    with tempfile.TemporaryDirectory() as directory:
        archive, source = Path(directory, "archive"), Path(directory, "file")
        with tarfile.open(archive, "w") as tar:
            for number in range(size):
                source.write_bytes(small(number))
                tar.add(source, f"{number % DIRECTORIES}/{number}")
        while going():
            (place / f"{rounds}").mkdir()
            subprocess.run(["tar", "xf", archive, "-C", place / f"{rounds}"], check=True)
            rounds += 1
    return {"rounds": rounds}


def small(number: int) -> bytes:
    """Return the content of a small file; some are empty."""
    return content(f"{number}", 7 * number % 5000)


def unpacked(size: int, did: Did) -> Mapping[str, str]:
    """Return all files of all rounds of `untar`."""
    return {
        f"{turn}/{number % DIRECTORIES}/{number}": digest([small(number)])
        for turn in range(did["rounds"])
        for number in range(size)
    }


def append(place: Path, _: int, going: Callable[[], bool]) -> Did:
    """Append lines to a file, each brought to S3 by fsync."""
    lines = 0
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    while going():
        line = b"%d\n" % lines
        assert os.write(log, line) == len(line)
        os.fsync(log)
        lines += 1
    os.close(log)
    return {"lines": lines}


def appended(_: int, did: Did) -> Mapping[str, str]:
    """Return the log with each line once."""
    return {"log": digest(b"%d\n" % number for number in range(did["lines"]))}


def copy(place: Path, size: int, going: Callable[[], bool]) -> Did:
    """Copy a large file into the mount with cp, the second time over the first."""
    rounds = 0
    with tempfile.NamedTemporaryFile() as source:
        for piece in pieces("copy", size):
            source.write(piece)
        source.flush()
        while going():
            subprocess.run(["cp", source.name, place / "copy"], check=True)
            rounds += 1
    return {"rounds": rounds}


def rename(place: Path, _: int, going: Callable[[], bool]) -> Did:
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


def renamed(size: int, did: Did) -> Mapping[str, str]:
    """Return the files under the last name."""
    return {f"{did['rounds']}/{number}": digest([b"x"]) for number in range(size)}


def names(place: Path, _: int, going: Callable[[], bool]) -> Did:
    """Make, rename, link and remove: none is answered as if it had been done before."""
    rounds = 0
    while going():
        (place / "d").mkdir()
        os.close(os.open(place / "d/f", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.rename(place / "d/f", place / "d/g")
        os.symlink("g", place / "d/l")
        os.mknod(place / "d/n")
        os.rename(place / "d", place / "e")
        assert sorted(os.listdir(place / "e")) == ["g", "l", "n"]
        for name in ("g", "l", "n"):
            (place / "e" / name).unlink()
        (place / "e").rmdir()
        rounds += 1
    return {"rounds": rounds}


def streams(place: Path, size: int, going: Callable[[], bool]) -> Did:
    """List a directory, whose names don't fit into one answer, to its end."""
    rounds = 0
    while going():
        assert sorted(os.listdir(place)) == sorted(long_name(number) for number in range(size))
        rounds += 1
    return {"rounds": rounds}


def long_name(number: int) -> str:
    """Return a name of one of two lengths."""
    return f"{number:05}" + "-" * (number % 2 * 100)


def listed(size: int, _: Did) -> Mapping[str, str]:
    """Return the files of the directory."""
    return {long_name(number): digest([b""]) for number in range(size)}


def pulse(place: Path, _: int, going: Callable[[], bool]) -> Did:
    """Read a byte every now and then; tell of each time that took long, in milliseconds."""
    file, waits = direct(place / "pulse"), {}
    while going():
        began = time.monotonic()
        assert os.pread(file, 1, 0) == b"p"
        took = int(1000 * (time.monotonic() - began))
        if took > 100:
            waits[f"{len(waits)}"] = took
        time.sleep(0.02)
    return waits


def one_file(size: int, _: Did) -> Mapping[str, str]:
    """Return the file that was only read."""
    return {"file": digest(pieces("file", size))}


ALL = {
    "sequential": Load(sequential, one_file, lambda size: {"file": content("file", size)}),
    "scattered": Load(scattered, one_file, lambda size: {"file": content("file", size)}),
    "untar": Load(untar, unpacked),
    "append": Load(append, appended),
    "copy": Load(copy, lambda size, _: {"copy": digest(pieces("copy", size))}),
    "rename": Load(
        rename, renamed, lambda size: {"0/": b"", **{f"0/{each}": b"x" for each in range(size)}}
    ),
    "names": Load(names, lambda *_: {}),
    "streams": Load(
        streams, listed, lambda size: {long_name(number): b"" for number in range(size)}
    ),
    "pulse": Load(pulse, lambda *_: {"pulse": digest([b"p"])}, lambda _: {"pulse": b"p"}),
}


def main(name: str, place: str, size: str, stop: str) -> None:
    """Run one load, for one round at least."""
    begun = False

    def going() -> bool:
        nonlocal begun
        first, begun = not begun, True
        return first or not Path(stop).exists()

    print(json.dumps(ALL[name].run(Path(place), int(size), going)))


if __name__ == "__main__":
    main(*sys.argv[1:])
