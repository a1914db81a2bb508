"""Changed files that S3 lacks something of, as who uploads them sees them; and the set of them.

Not here: what a file is (`filecontent`), when it is tried again (`retrystate`).
Any thread; the set's lock is a leaf.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from fusefs import locks
from fusefs.errors import FsError
from fusefs.locks import Rank
from fusefs.write.retrystate import RetryState

log = logging.getLogger(__name__)

# Seconds that a writer without room waits for one other file's lock, and between two rounds.
LOCK_WAIT = 0.5
ROUND_PAUSE = 0.2


UNLIMITED = 1 << 30


class Unsent(Protocol):
    """A file with changes that aren't in S3; `node` is its number in the tree.

    `commit_lock` serialises its changes and commits.
    """

    commit_lock: threading.RLock
    retry: RetryState
    node: int

    @property
    def key(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def unsent(self) -> int:
        """Bytes that were changed and aren't in S3."""

    def commit(self) -> bool:
        """Bring everything to S3; return whether there was anything. Raises what went wrong."""

    def seal(self) -> None:
        """Have the changes on the disk, to be found and trusted after another boot."""

    def relieve(self) -> bool:
        """Free some of the space its changes take; return whether that helped."""

    def copies_from(self, prefix: str) -> bool:
        """Say whether it has ranges still to be copied from an object at or below `prefix`."""


class DirtySet:
    """The files with changes that aren't in S3; `most` at a time, for each has descriptors."""

    def __init__(self, most: int = UNLIMITED) -> None:
        self._most = most
        self._lock = locks.lock(Rank.LEAF)
        self._files: dict[int, Unsent] = {}
        self._since: dict[int, float] = {}  # monotonic seconds

    def add(self, file: Unsent) -> None:
        """Count a file as dirty."""
        with self._lock:
            self._files[id(file)] = file
            self._since.setdefault(id(file), time.monotonic())

    def discard(self, file: Unsent) -> None:
        """Count a file as clean."""
        with self._lock:
            self._files.pop(id(file), None)
            self._since.pop(id(file), None)

    @property
    def full(self) -> bool:
        """Whether no more files may be changed until others are uploaded."""
        return len(self._files) >= self._most

    def oldest(self) -> float:
        """Return for how many seconds the oldest has been dirty, 0.0 for none."""
        with self._lock:
            began = min(self._since.values(), default=None)
        return 0.0 if began is None else time.monotonic() - began

    def all(self) -> list[Unsent]:
        """Return the dirty files, oldest first."""
        with self._lock:
            return list(self._files.values())

    def commit_copies(self, prefix: str) -> None:
        """Commit what is to be copied from objects about to go; the caller holds no lock."""
        for file in self.all():
            if file.copies_from(prefix):
                file.commit()

    def make_room(self, deadline: float, but: Unsent | None = None) -> bool:
        """Have dirty bytes brought to S3 so that their space is free; False: no hope is left.

        The oldest first, and none of `but`. The caller holds no lock but one of `but`'s, and waits
        for nobody's longer than a moment, so that two that make room can't block each other.
        """
        for file in self.all():
            if file is not but and _relieved(file):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(ROUND_PAUSE)
        return True


def _relieved(file: Unsent) -> bool:
    if not file.commit_lock.acquire(timeout=LOCK_WAIT):
        return True  # busy uploading: that makes room too, or fails within its own time limits
    try:
        return file.relieve()
    except FsError as error:
        log.debug("could not make room", extra={"key": file.key, "error": str(error)})
        return False
    except Exception:
        log.exception("a bug: could not make room", extra={"key": file.key})
        return False
    finally:
        file.commit_lock.release()


@contextmanager
def held(file: Unsent | None) -> Iterator[None]:
    """Keep a file, if there is one, from changing or being committed meanwhile."""
    if file is None:
        yield
        return
    with file.commit_lock:
        yield
