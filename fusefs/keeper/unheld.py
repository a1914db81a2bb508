"""A keeper whose holder was killed: is it needed still?

In a container the holder is the first process, with which all others end. On a machine the keeper
lives on, and serves: its workers, and the next one. Nobody starts it again, and nobody ends it, so
it ends by itself once no worker can come to it, or none has come for as long as none of a kubelet
stays away.

Standard library only. One thread.
"""

import os
import time
from collections.abc import Callable
from enum import Enum, auto

from fusefs.keeper.keptmount import ABANDONED_SECONDS

LOOK_SECONDS = 1.0  # sooner than another keeper takes mounts for lost (`keeper.ORPHANED_SECONDS`)


class Need(Enum):
    """What a keeper is there for."""

    SERVE = auto()
    LEAVE = auto()  # another keeper listens in our place: its workers shall come to it
    END = auto()  # nobody will come any more


class Unheld:
    """Says what a keeper without a holder is needed for; `path`: of its socket, bound by now."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._ours = _identity(path)
        self._alone_since: float | None = None

    def need(self, workers: int) -> Need:
        """Return it, with so many workers connected."""
        there = _identity(self._path)
        if there is not None and there != self._ours:
            return Need.LEAVE
        if workers:
            self._alone_since = None
            return Need.SERVE
        now = self._clock()
        if self._alone_since is None:
            self._alone_since = now
        abandoned = there is None or now - self._alone_since >= ABANDONED_SECONDS
        return Need.END if abandoned else Need.SERVE


def _identity(path: str) -> tuple[int, int, int] | None:
    """Return what tells the file from one made later, which may get the same inode number."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
