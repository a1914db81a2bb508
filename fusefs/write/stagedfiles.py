"""The two files of a staged file on the cache volume, its data and its log: how they are made.

Their paths are texts: each file written costs a dozen of them, and a `Path` takes longer to make
than what is done with it. Not here: what is in the files (`staged`, `stagedjournal`). No state.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from fusefs.disk.presence import nameless

COPY = 1 << 20  # bytes copied at once


def data_of(stem: Path | str) -> str:
    """Return where the bytes are."""
    return f"{stem}.data"


def log_of(stem: Path | str) -> str:
    """Return where the journal is."""
    return f"{stem}.log"


def created(path: str, flags: int = 0) -> int:
    """Make a new file; return its descriptor.

    Where its directory was removed it has no name: it can be read and uploaded as any other, but
    no next process finds it. The directory isn't made again, for another mount may by now.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | flags, 0o600)
    except FileNotFoundError:
        return nameless(Path(path), flags)


def removed(path: str) -> None:
    """Unlink a file, if it is there."""
    try:
        os.unlink(path)  # noqa: PTH108 - see above
    except FileNotFoundError:
        return


def moved(fd: int, source: str, target: str) -> None:
    """Give the open file `source` another name; copied where it has lost its own."""
    try:
        os.rename(source, target)  # noqa: PTH104 - see above
    except FileNotFoundError:
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copied(fd, new)
        finally:
            os.close(new)


def _copied(source: int, target: int) -> None:
    size, at = os.fstat(source).st_size, 0
    os.ftruncate(target, size)
    while at < size and (data := os.pread(source, COPY, at)):
        os.pwrite(target, data, at)
        at += len(data)


def leftovers(directory: Path) -> Iterator[Path]:
    """Yield the stems of staged files that a former process left, oldest first.

    Halves are removed: data without a log was given to the cache or never acknowledged.
    """
    for data in directory.glob("*.data"):
        if not data.with_suffix(".log").exists():
            data.unlink(missing_ok=True)
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for log in logs:
        yield log.with_suffix("")
