"""Unfinished uploads that nobody will end: mounts that died without their cache volume leave them.

A store doesn't know whose an upload is. Taken for abandoned are those under the mount's prefix that
were begun longer ago than `age`, got no part for that long, and are in no journal of this cache. A
mount elsewhere that did go on with one would begin it anew: its bytes are on its own cache volume.

One thread of its own, which waits until the start is long over.
"""

import logging
import threading
from pathlib import Path

from fusefs.bulkhead import bulkhead
from fusefs.errors import FsError, NotFound
from fusefs.s3.store import Store
from fusefs.s3.unfinished import Unfinished, idle

log = logging.getLogger(__name__)

DELAY = 600.0  # seconds behind the start


class AbandonedUploads:
    """Aborts them once in the life of a mount. `staging` has the journals."""

    def __init__(self, store: Store, prefix: str, staging: Path, age: float) -> None:
        self._store = store
        self._prefix = prefix
        self._staging = staging
        self._age = age
        self._ended = threading.Event()

    def start(self, delay: float = DELAY) -> None:
        """Begin to wait; `stop` ends that."""
        threading.Thread(target=self._run, args=[delay], name="abandoned", daemon=True).start()

    def stop(self) -> None:
        """Abort no more."""
        self._ended.set()

    def _run(self, delay: float) -> None:
        if not self._ended.wait(delay):
            with bulkhead("aborting abandoned uploads"):
                self.abort()

    def abort(self) -> int:
        """Abort them; return how many. What is refused is said, and left to a lifecycle rule."""
        aborted = 0
        oldest = self._store.server_time() - self._age
        try:
            for found in idle(self._store, self._prefix, oldest, self._known):
                if self._ended.is_set():
                    break
                try:
                    self._store.uploads.abort(found.key, found.upload)
                    aborted += 1
                except NotFound:
                    log.debug("ended meanwhile", extra={"key": found.key})
        except FsError as error:
            log.info(
                "unfinished uploads of former processes are left to a lifecycle rule",
                extra={"prefix": self._prefix, "error": str(error)},
            )
        if aborted:
            log.info("aborted unfinished uploads of former processes", extra={"uploads": aborted})
        return aborted

    def _known(self, found: Unfinished) -> bool:
        """Say whether a file that isn't in the store yet goes on with this upload."""
        return any(found.upload in _text(journal) for journal in self._staging.glob("*.log"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
