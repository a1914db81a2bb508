"""Says why a call failed where the store refused it, or the cache disk had no room: one warning for
each reason and minute.

For the adapters, which give a program no more than an errno. Uploads have lines of their own. Any
thread; one dictionary operation each, so a race costs a line more.
"""

import logging
import time

from fusefs.errors import FsError, NoSpace

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
        """Log why `call` failed, if there is a reason for people that wasn't logged lately."""
        reason = _reason(call, error)
        if not reason:
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
        log.warning("%s", reason, extra=fields)


def _reason(call: str, error: BaseException) -> str:
    """Return what people should know, "" for nothing."""
    if isinstance(error, NoSpace):
        return "no room in the cache directory for what a program writes"
    refusal = error.refusal if isinstance(error, FsError) else ""
    return f"the store refuses: {refusal}" if refusal and call.lower() not in UPLOADING else ""
