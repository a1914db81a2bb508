"""Says why a call failed where the store refused it: one warning for each reason and minute.

For the adapters, which tell a program no more than an errno. Uploads have lines of their own. Any
thread; one dictionary operation each, so a race costs a line more.
"""

import logging
import time

from fusefs.errors import FsError

log = logging.getLogger(__name__)

PAUSE = 60.0  # seconds between two lines of one reason
# Of these the upload's own line says why (`upload failed`).
UPLOADING = frozenset({"write", "flush", "fsync", "release", "syncfs"})


class Refusals:
    """What was said when."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def tell(self, call: str, error: BaseException) -> None:
        """Log why `call` failed, if the store gave a reason that wasn't told lately."""
        reason = error.refusal if isinstance(error, FsError) else ""
        if not reason or call.lower() in UPLOADING:
            return
        now = time.monotonic()
        if now - self._said.get(reason, float("-inf")) < self._pause:
            self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
            return
        self._said[reason] = now
        more = self._unsaid.pop(reason, 0)
        told = {"call": call.lower(), "error": str(error)} | ({"more_of_it": more} if more else {})
        log.warning("the store refuses: %s", reason, extra=told)
