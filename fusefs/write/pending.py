"""The changes of one file that aren't in the store: its staged file, or nothing while it is clean.

`state` guards the staged file and the fields of the content that go with it; short local reads and
writes, never a request. What changes a file holds its `commit_lock`, too.

Not here: what is in a staged file (`staged`), when it is committed (`filecontent`).
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fusefs import locks
from fusefs.locks import Rank
from fusefs.write.staged import Record, Staged
from fusefs.write.staging import Staging
from fusefs.write.unsent import Unsent

SEAL_WAIT = 0.2  # seconds for a file's lock at the end of a process


class PendingChanges:
    """`staged` is None as long as S3 has everything."""

    def __init__(self, staging: Staging) -> None:
        self.state = locks.lock(Rank.STATE)
        self.staged: Staged | None = None
        self._staging = staging

    @property
    def unsent(self) -> int:
        """Bytes that were changed and aren't in S3."""
        with self.state:
            return self.staged.dirty.total() if self.staged is not None else 0

    def copies_from(self, prefix: str) -> bool:
        """Say whether ranges are still to be copied from an object at or below `prefix`."""
        with self.state:
            return self.staged is not None and any(
                copied.source.info.key.startswith(prefix) for copied in self.staged.copies
            )

    def begin(self, record: Record, owner: Unsent) -> Staged:
        """Make the staged file; its owner is dirty from now on, unless it was removed."""
        staged = self._staging.new(record)
        with self.state:
            self.staged = staged
        if not record.unlinked:
            self._staging.dirty.add(owner)
        return staged

    def end(self, owner: Unsent) -> Staged:
        """Count the owner as clean; return what was staged, for its end."""
        with self.state:
            staged, self.staged = self.staged, None
        self._staging.dirty.discard(owner)
        assert staged is not None  # noqa: S101 - called for what is staged only
        return staged

    def change(
        self, begin: Callable[[], Staged], owner: Unsent, step: Callable[[Staged], None]
    ) -> Staged:
        """Carry out one change, under `state`; what fails leaves a clean file clean."""
        staged = self.staged
        fresh = staged is None
        if staged is None:
            staged = begin()
        try:
            with self.state:
                step(staged)
        except BaseException:
            if fresh and not staged.dirty and staged.record.size == staged.initial_size:
                self.end(owner).discard()
            raise
        return staged

    def seal(self, commit_lock: threading.RLock) -> None:
        """Have the changes on the disk, for another boot; not those of a file that is in use."""
        if commit_lock.acquire(timeout=SEAL_WAIT):
            try:
                if self.staged is not None:
                    self.staged.seal()
            finally:
                commit_lock.release()

    def note(self, **changes: Any) -> None:
        """Write into the journal, if there is one, what is true of the file; under `state`."""
        if self.staged is not None:
            self.staged.change(replace(self.staged.record, **changes))
