"""Committing many files at once: for `syncfs`, for the retries, and before the end of a process.

Each file is behind a bulkhead: what happens to one is reported for that one and stops none of the
others. The memory of all together is bounded; a file above `whole` bytes goes in parts, which the
upload pool bounds.

Not here: when a file is tried again (`retrier`), how it is sent (`uploader`).
Any thread. No lock is held over a request; the budget's is a leaf.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.errors import FsError
from fusefs.locks import Rank
from fusefs.write.unsent import Unsent
from fusefs.write.uploadplan import PlanSettings

log = logging.getLogger(__name__)

# 10 000 small files in a grace period of 60 s at 20 ms a request: two requests for each that a
# former process left, and what a core has to do for them.
AT_ONCE = 32
# Bytes of files that are sent whole; each is in memory twice while it is.
MEMORY = 32 << 20
LOOK_SECONDS = 0.1

Ended = Callable[[Unsent, Exception | None], None]


class MemoryBudget:
    """Memory for whoever needs some for a while; what is larger than all of it is alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = locks.condition(Rank.LEAF)

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold `size` bytes inside the block; waits until they are there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


class Flush:
    """The threads that commit, `at_once` of them, made when they are first needed."""

    def __init__(self, whole: int = PlanSettings().threshold, at_once: int = AT_ONCE) -> None:
        self._whole = whole
        self._at_once = at_once
        self._memory = MemoryBudget(MEMORY)
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="flush")

    def begin(self, file: Unsent, ended: Ended) -> Future[None]:
        """Commit one file when its turn comes, and call `ended` with the error, or None."""
        return self._pool.submit(self._one, file, ended)

    def each(
        self, files: Sequence[Unsent], ended: Ended, stop: threading.Event | None = None
    ) -> None:
        """Commit all of `files`, in this order; `stop` ends that early, with some under way."""
        left, ending = deque(files), stop or threading.Event()

        def run() -> None:
            while left and not ending.is_set():
                try:
                    file = left.popleft()
                except IndexError:  # another thread took the last one
                    return
                self._one(file, ended)

        waiting = {self._pool.submit(run) for _ in range(min(self._at_once, len(files)))}
        while waiting := wait(waiting, LOOK_SECONDS).not_done:
            if ending.is_set():
                return

    def close(self) -> None:
        """Begin nothing more; what is under way is waited for."""
        self._pool.shutdown(cancel_futures=True)

    def _one(self, file: Unsent, ended: Ended) -> None:
        with bulkhead("an upload", key=file.key):
            size = file.size
            with self._memory.taken(size if size <= self._whole else 0):
                error = _committed(file)
            ended(file, error)


def _committed(file: Unsent) -> Exception | None:
    """Commit a file; return what went wrong, None for nothing."""
    try:
        file.commit()
    except FsError as error:
        return error
    except Exception as error:
        log.exception("a bug: an upload failed; the others go on", extra={"key": file.key})
        return error
    return None
