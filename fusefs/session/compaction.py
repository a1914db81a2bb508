"""Compaction of a journal to the records that still matter, while it goes on growing.

A thread of its own writes the new file. Writers of lines don't wait for that, only for the copy of
the last few lines. Not here: what lines mean (`sessionlog`), the file (`linefile`).

Threading: `lock` is the journal's own; it is held for `TAIL_MOST` bytes of copying at most.
"""

import errno
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from fusefs.disk.linefile import FULL, LineFile, NewLines

log = logging.getLogger(__name__)

COMPACT_AT = 8 << 20  # bytes; the records that matter are usually far less
TAIL_MOST = 64 << 10  # bytes copied while writers wait: well under a millisecond
COPY_MOST = 1 << 20  # bytes copied at a time while no writer waits


class Compaction:
    """The compactions of one file; `alive(end)` returns the records to keep of the first bytes."""

    def __init__(
        self,
        file: LineFile,
        lock: AbstractContextManager[object],
        alive: Callable[[int], Iterable[str]],
    ) -> None:
        self._file = file
        self._lock = lock
        self._alive = alive
        self._at = COMPACT_AT
        self._thread: threading.Thread | None = None

    def grown(self) -> None:
        """Note that the file grew; the file's owner holds the lock."""
        if self._file.size > self._at:
            self.begin()

    def begin(self) -> None:
        """Begin a compaction, if none runs; the file's owner holds the lock."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(self._file.size,), name="compact", daemon=True
            )
            self._thread.start()

    def wait(self) -> None:
        """Wait for the running compaction; the caller doesn't hold the lock."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self, end: int) -> None:
        try:
            self._compact(end)
        except Exception as error:
            # Without space for both, or without its directory, the old file is used as long as
            # this process lives; the next time is when it has doubled.
            if not isinstance(error, OSError) or error.errno not in (*FULL, errno.ENOENT):
                log.exception("the session's journal is not compacted")
        finally:
            with self._lock:
                self._at = max(COMPACT_AT, 2 * self._file.size)
                self._thread = None

    def _compact(self, end: int) -> None:
        """Write the records to keep up to byte `end`, then the newer lines unchanged."""
        new = self._file.anew(self._alive(end))
        try:
            while (missing := self._file.size - end) > TAIL_MOST:
                end += self._copy(new, end, min(missing, COPY_MOST))
            with self._lock:
                while end < self._file.size:
                    end += self._copy(new, end, self._file.size - end)
                new.take_place(self._file)
        except BaseException:
            new.abandon()
            raise

    def _copy(self, new: NewLines, start: int, most: int) -> int:
        part = self._file.part(start, most)
        new.add_raw(part)
        return len(part)
