"""What the bodies of one mount work with, and the set of those that S3 lacks something of.

Any thread; the set's lock is a leaf.
"""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fusefs.cache.cache import Cache
from fusefs.counters import Counters
from fusefs.disk.space import Space
from fusefs.errors import FsError
from fusefs.read.reader import Reader
from fusefs.s3.store import Store
from fusefs.write.uploader import Committer

if TYPE_CHECKING:
    from fusefs.write.filecontent import Body

log = logging.getLogger(__name__)

# Seconds that a writer without room waits for one other file's lock, and between two rounds.
LOCK_WAIT = 0.5
ROUND_PAUSE = 0.2


@dataclass(frozen=True)
class Depot:
    """What bodies work with; one per mount."""

    store: Store
    reader: Reader
    cache: Cache
    space: Space
    committer: Committer
    pool: Executor
    staging: Path
    conflicts: Path
    stores_attributes: bool
    on_conflict: Literal["fail", "overwrite"] = "fail"
    full_wait: float = 10.0  # see settings.Mount
    dirty: "DirtySet" = field(default_factory=lambda: DirtySet())
    counters: Counters = field(default_factory=Counters)

    @property
    def renames(self) -> Path:
        """Where the journals of directory renames are."""
        return self.staging.parent / "renames"

    def repay(self, prefix: str) -> None:
        """Commit what borrows from objects that are about to go; the caller holds no lock."""
        for body in self.dirty.all():
            if body.borrows(prefix):
                body.commit()

    def make_room(self, deadline: float, but: "Body | None" = None) -> bool:
        """Have dirty bytes brought to S3 so that their space is free; False: no hope is left.

        The oldest first, and none of `but`. The caller holds no lock but one of `but`'s, and waits
        for nobody's longer than a moment, so that two that make room can't block each other.
        """
        for body in self.dirty.all():
            if body is not but and _relieved(body):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(ROUND_PAUSE)
        return True


def _relieved(body: "Body") -> bool:
    if not body.commit_lock.acquire(timeout=LOCK_WAIT):
        return True  # busy uploading: that makes room too, or fails within its own time limits
    try:
        return body.relieve()
    except FsError as error:
        log.debug("could not make room", extra={"key": body.key, "error": str(error)})
        return False
    finally:
        body.commit_lock.release()


class DirtySet:
    """The bodies with changes that aren't in S3; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[int, Body] = {}

    def add(self, body: "Body") -> None:
        """Count a body as dirty."""
        with self._lock:
            self._bodies[id(body)] = body

    def discard(self, body: "Body") -> None:
        """Count a body as clean."""
        with self._lock:
            self._bodies.pop(id(body), None)

    def all(self) -> list["Body"]:
        """Return the dirty bodies, oldest first."""
        with self._lock:
            return list(self._bodies.values())

    def of(self, key: str) -> "Body | None":
        """Return the dirty body of a key: what a former process left, until it is uploaded."""
        return next((body for body in self.all() if body.key == key), None)


@contextmanager
def held(body: "Body | None") -> Iterator[None]:
    """Keep a body, if there is one, from changing or being committed meanwhile."""
    if body is None:
        yield
        return
    with body.commit_lock:
        yield
