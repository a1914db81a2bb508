"""Says why a call failed where the store refused it: one warning for each reason and minute.

For the adapters, which give a program no more than an errno. Uploads have lines of their own. Any
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
    """When each reason was logged last, and how often it came since."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._logged: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warn(self, call: str, error: BaseException) -> None:
        """Log why `call` failed, if the store gave a reason that wasn't logged lately."""
        reason = error.refusal if isinstance(error, FsError) else ""
        if not reason or call.lower() in UPLOADING:
            return
        now = time.monotonic()
        if now - self._logged.get(reason, float("-inf")) < self._pause:
            self._left_out[reason] = self._left_out.get(reason, 0) + 1
            return
        self._logged[reason] = now
        more = self._left_out.pop(reason, 0)
        fields: dict[str, str | int] = {"call": call.lower(), "error": str(error)}
        if more:
            fields["more_of_it"] = more
        log.warning("the store refuses: %s", reason, extra=fields)
