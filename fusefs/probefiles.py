"""Files that show probes whether a process is ready, so that a probe needn't start Python.

`…/keeper.ready` or `…/worker.ready` is there while the process does its work: a readiness or
startup probe is `test -e`. They are in the directory of the sockets, which keeper and worker of a
pod share. There is no file for a liveness probe: the kubelet ends a container by SIGTERM, at which
a keeper unmounts and a worker refuses writes. The first process of each container restarts them
instead.

Standard library only: the keeper imports this. One thread.
"""

import os

# The worker can write here as well: the keeper follows no link and waits for no FIFO.
FLAGS = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ProbeFile:
    """The file of one process."""

    def __init__(self, directory: str, part: str) -> None:
        """Remove the file of a predecessor."""
        self._path = os.path.join(directory, f"{part}.ready")  # noqa: PTH118 - pathlib is large
        self.shown = False  # whether the file is known to be there
        self.ready(False)

    def ready(self, yes: bool) -> None:
        """Show whether the process is ready; costs nothing while it stays ready.

        False removes the file whoever made it: a supervisor's worker may have died with it.
        """
        if not yes:
            self.shown = not _remove(self._path)
        elif not self.shown:
            self.shown = _make(self._path)


def _make(path: str) -> bool:
    """Make the file; return whether it exists. Without the directory there is no probe either."""
    try:
        os.close(os.open(path, FLAGS, 0o644))
    except OSError:
        return False
    return True


def _remove(path: str) -> bool:
    """Remove the file; return whether it is gone."""
    try:
        os.unlink(path)  # noqa: PTH108 - pathlib is large
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
