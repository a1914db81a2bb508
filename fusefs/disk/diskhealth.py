"""Whether the cache disk can be written to.

A failing disk costs each read a time-out and fills the log. So one warning is logged, and writing
pauses.

Threading: any thread; single reads and writes of one attribute. Two threads that fail at the same
moment may both warn, which is harmless.
"""

import errno
import logging
import time
from pathlib import Path

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)
# Seconds after a failure until the disk is used again.
RECOVERY = 10.0


class DiskHealth:
    """Logs once when writes under `root` begin to fail, and once when they work again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._failed_at: float | None = None

    def usable(self) -> bool:
        """Return False for a while after a failure."""
        return self._failed_at is None or time.monotonic() - self._failed_at > RECOVERY

    def failed(self, error: OSError) -> None:
        """Note a failed write; reads continue without the cache. A full disk is not a failure."""
        if error.errno in FULL:
            log.debug("not cached: %s", error)
            return
        if self._failed_at is None:
            log.warning("cache in %s can't be written, reading without it: %s", self._root, error)
        self._failed_at = time.monotonic()

    def worked(self) -> None:
        """Note a write that worked."""
        if self._failed_at is not None:
            self._failed_at = None
            log.info("cache in %s can be written again", self._root)
