"""The two files of a staged file on the cache volume, its data and its log: how they are made.

Not here: what is in them (`staged`, `stagedjournal`). No state.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from fusefs.disk.presence import nameless

COPY = 1 << 20  # bytes copied at once


def data_of(stem: Path) -> Path:
    """Return where the bytes are."""
    return stem.with_suffix(".data")


def log_of(stem: Path) -> Path:
    """Return where the journal is."""
    return stem.with_suffix(".log")


def created(path: Path, flags: int = 0) -> int:
    """Make a new file; return its descriptor.

    Where its directory was removed it has no name: it can be read and uploaded as any other, but
    no next process finds it. The directory isn't made again, for another mount may by now.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | flags, 0o600)
    except FileNotFoundError:
        return nameless(path, flags)


def moved(fd: int, source: Path, target: Path) -> None:
    """Give the open file `source` another name; copied where it has lost its own."""
    try:
        source.rename(target)
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
        if not log_of(data).exists():
            data.unlink(missing_ok=True)
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for log in logs:
        yield log.with_suffix("")
