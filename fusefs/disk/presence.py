"""Whether a directory still exists at its path: cleaners empty caches, kubelets remove volumes.

Open files stay usable after that; the next process can't find new ones.
Any thread; no lock.
"""

import errno
import os
from pathlib import Path
from uuid import uuid4

_TMPFILE = getattr(os, "O_TMPFILE", 0)  # Linux only, and not on every filesystem


class DirectoryPresence:
    """A directory that existed at the start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def gone(self) -> bool:
        """Return whether the path is gone or is another directory now."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except OSError:
            return True

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)


def nameless(path: Path, flags: int) -> int:
    """Open an unnamed file (O_TMPFILE) in the nearest directory above `path`.

    It ends with its descriptor. Raises EIO if no directory above supports it (the root is not
    tried: nothing limits what a container writes there). ENOENT of the missing directory would
    look like an error about the application's own file.
    """
    for directory in path.parents[:-1]:
        try:
            return _nameless_in(directory, flags)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
    raise OSError(errno.EIO, "the cache directory was removed", str(path.parent))


def _nameless_in(directory: Path, flags: int) -> int:
    try:
        if _TMPFILE:
            return os.open(directory, _TMPFILE | os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    name = directory / f".s3mount-{uuid4().hex}"
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    name.unlink()
    return fd
