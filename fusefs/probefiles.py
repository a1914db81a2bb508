"""Files by which probes tell how a process is, so that no probe has to start a Python.

`…/keeper.ready` or `…/worker.ready` is there while the process does its work: a readiness or
startup probe is `test -e`. `….alive` is made again every few seconds by a process that goes on: a
liveness probe is `rm`, which fails where nothing made the file since the last probe. Both are in
the directory of the sockets, which keeper and worker of a pod share.

Standard library only: the keeper imports this. One thread.
"""

import os

# The directory is the worker's as well: the keeper follows no link and waits for no FIFO of its.
FLAGS = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
ALIVE_SECONDS = 10.0  # how often a process shows that it lives; probes come much less often


class ProbeFiles:
    """The two files of one process."""

    def __init__(self, directory: str, part: str) -> None:
        """Take away what a predecessor left."""
        self._ready = os.path.join(directory, f"{part}.ready")  # noqa: PTH118 - pathlib is large
        self._alive = os.path.join(directory, f"{part}.alive")  # noqa: PTH118 - likewise
        self.shown = True  # whether the file of a ready process is there
        self.ready(False)

    def ready(self, yes: bool) -> None:
        """Show whether the process does its work; costs nothing while that stays the same."""
        if yes != self.shown:
            self.shown = _make(self._ready) if yes else not _remove(self._ready)

    def alive(self) -> None:
        """Show that the process lives."""
        _make(self._alive)


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
