"""The files `STEM.data` and `STEM.log` of a staged file on the cache volume: how they are made.

Not here: what is in them (`staged`, `stagedjournal`). No state.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def data_of(stem: Path) -> Path:
    """Return where the bytes are."""
    return stem.with_suffix(".data")


def log_of(stem: Path) -> Path:
    """Return where the journal is."""
    return stem.with_suffix(".log")


def created(path: Path) -> int:
    """Make a new file; return its descriptor."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:  # somebody emptied the cache volume: ENOENT would be a lie
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def leftovers(directory: Path) -> Iterator[Path]:
    """Yield the stems of staged files that a former process left, oldest first.

    Halves are removed: data without a log was given to the cache or never told of.
    """
    for data in directory.glob("*.data"):
        if not log_of(data).exists():
            data.unlink(missing_ok=True)
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for log in logs:
        yield log.with_suffix("")
