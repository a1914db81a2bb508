"""Files by which probes tell how a process is, so that no probe has to start a Python.

`…/keeper.ready` or `…/worker.ready` is there while the process does its work: a readiness or
startup probe is `test -e`. They are in the directory of the sockets, which keeper and worker of a
pod share. There is no file for a liveness probe: the kubelet ends a container by SIGTERM, at which
a keeper unmounts and a worker refuses writes. First processes of their own start them again.

Standard library only: the keeper imports this. One thread.
"""

import os

# The directory is the worker's as well: the keeper follows no link and waits for no FIFO of its.
FLAGS = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ProbeFile:
    """The file of one process."""

    def __init__(self, directory: str, part: str) -> None:
        """Take away what a predecessor left."""
        self._path = os.path.join(directory, f"{part}.ready")  # noqa: PTH118 - pathlib is large
        self.shown = True  # whether the file is there
        self.ready(False)

    def ready(self, yes: bool) -> None:
        """Show whether the process does its work; costs nothing while that stays the same."""
        if yes != self.shown:
            self.shown = _make(self._path) if yes else not _remove(self._path)


def _make(path: str) -> bool:
    """Say whether the file is there; a directory that is gone has no prober either."""
    try:
        os.close(os.open(path, FLAGS, 0o644))
    except OSError:
        return False
    return True


def _remove(path: str) -> bool:
    """Say whether the file is gone."""
    try:
        os.unlink(path)  # noqa: PTH108 - pathlib is large
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
