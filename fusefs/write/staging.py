"""The local side of changed files: where their bytes are until they are in the store.

It makes staged files, takes over those of a former process, and keeps what must not be uploaded:
the version of a writer that lost to another, and what a power failure may have damaged.

Not here: what is in one staged file (`staged`), the remote side (`uploader`). Any thread.
"""

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fusefs.cache.cache import Cache
from fusefs.counters import Count, Counters
from fusefs.disk.leftbehind import LeftBehind
from fusefs.disk.space import Space
from fusefs.errors import NoSpace, Stale
from fusefs.objects import ObjectInfo
from fusefs.write.staged import Record, Staged, leftovers
from fusefs.write.unsent import UNLIMITED, DirtySet, Unsent

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)


class Staging:
    """The staged files of one mount, below `root`, its cache directory.

    `full_wait`: seconds that a writer without room waits for the uploads of other files;
    `most_files`: how many files may be changed at a time, for each has two descriptors.
    """

    def __init__(
        self,
        root: Path,
        space: Space,
        cache: Cache,
        counters: Counters,
        full_wait: float = 10.0,
        most_files: int = UNLIMITED,
    ) -> None:
        self.root = root
        self.directory = root / "staged"
        self._stems = f"{self.directory}{os.sep}"
        self.conflicts = root / "conflicts"
        self.space = space
        self.dirty = DirtySet(most_files)
        self.counters = counters
        self.kept = LeftBehind(space, self.conflicts)
        self._cache = cache
        self._full_wait = full_wait

    def new(self, record: Record) -> Staged:
        """Begin a staged file; raises OSError (the disk refuses) or NoSpace (`most_files`)."""
        if self.dirty.full and not record.unlinked:
            raise NoSpace(f"{record.key}: as many files are changed as there are descriptors for")
        return Staged(f"{self._stems}{os.urandom(16).hex()}", record, self.space)

    def left(self) -> Iterator[Path]:
        """Yield where the staged files of a former process are, oldest first."""
        return leftovers(self.directory)

    def restore(self, stem: Path) -> Staged | None:
        """Open one of those that are `left`; errors as `Staged.restore`."""
        return Staged.restore(stem, self.space)

    def deadline(self) -> float:
        """Return until when a writer that begins now may wait for room."""
        return time.monotonic() + self._full_wait

    def with_room(
        self,
        change: Callable[[], None],
        deadline: float | None = None,
        but: Unsent | None = None,
    ) -> None:
        """Make a change; where the disk is full, again when room was made.

        It is given up at the `deadline` (monotonic seconds), by default `full_wait` seconds from
        the first refusal on. What makes room, and at whose cost (none of `but`), is
        `DirtySet.make_room`.
        """
        while True:
            try:
                return change()
            except (NoSpace, OSError) as error:
                full = isinstance(error, NoSpace) or error.errno in FULL
                if not full:
                    raise
                deadline = self.deadline() if deadline is None else deadline
                if not self.dirty.make_room(deadline, but):
                    self.counters.add(Count.FULL)
                    raise

    def is_cached(self, info: ObjectInfo) -> bool:
        """Say whether the cache has all of this version."""
        return self._cache.whole(info.key, info.etag)

    def to_cache(self, staged: Staged, info: ObjectInfo) -> None:
        """Hand a staged file, which is all of `info`'s content, to the cache."""
        staged.become_cache(self._cache, info)

    def keep_conflict(self, staged: Staged, error: Stale) -> Stale:
        """Move what is staged to the conflicts; return the error for whoever has it open.

        Raises OSError where it can't be moved, with nothing changed.
        """
        key = staged.record.key
        kept = self._keep(staged)
        log.error(
            "conflict: another writer was first; our version is kept on the cache volume",
            extra={"key": key, "kept": str(kept), "error": str(error)},
        )
        return Stale(f"{error}; our version is kept in {kept}")

    def keep_damaged(self, staged: Staged) -> bool:
        """Keep what a power failure may have damaged; False where it is what was written.

        Raises OSError where it can't be moved; it is not to be uploaded then, either.
        """
        reason = staged.doubt()
        if not reason or staged.record.unlinked:
            return False
        key = staged.record.key
        kept = self._keep(staged)
        log.error(
            "changes that a power failure may have damaged are kept on the cache volume, "
            "not uploaded",
            extra={"key": key, "kept": str(kept), "error": reason},
        )
        return True

    def _keep(self, staged: Staged) -> Path:
        kept = staged.keep_as_conflict(self.conflicts)
        self.kept.recount()
        self.counters.add(Count.CONFLICT)
        return kept
