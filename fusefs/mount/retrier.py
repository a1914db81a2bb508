"""Uploading in the background what could not be uploaded at once, and all of it at the end.

One thread looks twice a second which files are due and has them committed, several at once. What
fails of one file or one look is said and ends neither the thread nor the other files.

Not here: how long a file waits for its next try (`retrystate`), the threads that commit (`flush`).
Threading: `start`, `stop` and `drain` from one thread each; `_under_way` is guarded by `_lock`, a
leaf.
"""

import logging
import threading
import time
from collections.abc import Callable

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.errors import FsError, Stale
from fusefs.locks import Rank
from fusefs.write.flush import Flush
from fusefs.write.unsent import DirtySet, Unsent

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
LONGEST_PAUSE = 5.0  # between two rounds over what a drain couldn't upload


class Retrier:
    """The background uploads of one mount.

    `settle(file)` is called for each file that was committed with nobody waiting for it;
    `finish_renames()` is called at each look, and has what is left of renames done when it is time.
    """

    def __init__(
        self,
        dirty: DirtySet,
        flush: Flush,
        settle: Callable[[Unsent], None],
        finish_renames: Callable[[], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._dirty = dirty
        self._flush = flush
        self._settle = settle
        self._finish_renames = finish_renames
        self._look_seconds = look_seconds
        self._stopped = threading.Event()
        self._lock = locks.lock(Rank.LEAF)
        self._under_way: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="retry", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self._stopped.set()

    def drain(self, stop: threading.Event) -> bool:
        """Upload everything dirty until `stop`; return whether all of it is in S3.

        Small files first: most names are safe soonest, and no large one holds them up.
        """
        self.stop()
        pause = self._look_seconds
        while left := self._dirty.all():
            self._flush.each(sorted(left, key=lambda file: file.unsent), self._settled, stop)
            if stop.is_set() or (self._dirty.all() and stop.wait(pause)):
                return False
            pause = min(2 * pause, LONGEST_PAUSE)
        return self._ended(stop)

    def _ended(self, stop: threading.Event) -> bool:
        """Wait for the look that is under way: a rename that it finishes is none by half then."""
        while self._thread.is_alive():
            self._thread.join(0.05)
            if stop.is_set():
                return False
        return True

    def _run(self) -> None:
        while not self._stopped.wait(self._look_seconds):
            with bulkhead("a look for what is to be uploaded"):
                self._finish_renames()
            with bulkhead("a look for what is to be uploaded"):
                self._look()

    def _look(self) -> None:
        """Have each file tried whose time has come, but those that are being tried."""
        now, dirty = time.monotonic(), self._dirty.all()
        with self._lock:
            due = [
                file
                for file in dirty
                if file.retry.retry_at <= now and id(file) not in self._under_way
            ]
            self._under_way.update(id(file) for file in due)
        for file in due:
            self._flush.begin(file, self._retried)

    def _retried(self, file: Unsent, error: Exception | None) -> None:
        try:
            if error is not None and file.retry.retry_at <= time.monotonic():
                file.retry.failed(error)  # of something its own commit didn't foresee
            self._note_success(file, error)
        finally:
            with self._lock:
                self._under_way.discard(id(file))

    def _note_success(self, file: Unsent, error: Exception | None) -> None:
        if error is None:
            log.info("uploaded after an earlier failure", extra={"key": file.key})
        self._settled(file, error)

    def _settled(self, file: Unsent, error: Exception | None) -> None:
        if error is None:
            self._settle(file)
        elif isinstance(error, FsError) and not isinstance(error, Stale):
            # Stale was logged and kept by the commit itself, a bug logged where it was caught.
            log.warning(
                "upload failed; it is tried again", extra={"key": file.key, "error": str(error)}
            )
