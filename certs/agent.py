"""The process beside the webhook: it runs rotation steps, writes the webhook's files, and logs.

`rotation` decides each step; the agent repeats them until the process is ended, which may be at any
moment. One thread.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any, NoReturn

import structlog

from certs.announcement import Announcement
from certs.errors import Conflict
from certs.rotation import Rotation, Status
from certs.tlsdir import TlsDirectory

# Seconds between rounds of two GETs each: the longest time that a caBundle stays wrong.
POLL_SECONDS = 5.0
# Seconds between rounds while a change is expected.
SOON_SECONDS = 1.0


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """The wall clock."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, suspended time included."""
        return clock_gettime(CLOCK_BOOTTIME)


class Agent:
    """Runs one replica's rotation against one directory."""

    def __init__(
        self,
        rotation: Rotation,
        directory: TlsDirectory,
        log: Any,
        announcement: Announcement | None = None,
    ) -> None:
        self._rotation = rotation
        self._announcement = announcement
        self._unannounced = ""
        self._directory = directory
        self._log = log
        self._before: Status | None = None

    def run(self, sleep: Callable[[float], None]) -> NoReturn:
        """Repeat rounds for ever; BadOutput if the directory can't be written."""
        while True:
            sleep(self.round())

    def round(self) -> float:
        """Run one step, write its files and log lines; return the seconds until the next."""
        status = self._rotation.step()
        before, self._before = self._before, status
        if status.ready is False:
            self._directory.mark(ready=False)
        if status.leaf is not None and status.renewed:
            self._directory.write(status.leaf)
        if self._announced() and status.ready:
            self._directory.mark(ready=True)
        self._directory.beat()
        self._report(before, status)
        return _pause(status)

    def _announced(self) -> bool:
        """Return whether our image is announced: else the guards refuse every injected pod."""
        if self._announcement is None:
            return True
        problem = self._announcement.step()
        text = "" if problem is None else f"announcing the image: {problem}"
        if text and text != self._unannounced:
            self._log.warning("try-again", reason=text)
        self._unannounced = text
        return self._announcement.made

    def _report(self, before: Status | None, status: Status) -> None:
        for event in status.events:
            (self._log.warning if event.warning else self._log.info)(event.name, **event.fields)
        if _text(status) != _text(before) and status.problem is not None:
            expected = isinstance(status.problem, Conflict)
            (self._log.info if expected else self._log.warning)("try-again", reason=_text(status))
        if status.ready is not None and (before is None or before.ready != status.ready):
            self._log.info("ready" if status.ready else "not-ready")


def json_log() -> Any:
    """Return a log of JSON lines on stdout, like the webhook's."""
    return structlog.wrap_logger(
        structlog.WriteLogger(),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )


def _text(status: Status | None) -> str:
    return "" if status is None or status.problem is None else str(status.problem)


def _pause(status: Status) -> float:
    healing = status.ready is False and status.problem is None
    short = status.waiting or healing or isinstance(status.problem, Conflict)
    # Random, so that replicas that conflicted don't repeat it in step.
    return (SOON_SECONDS if short else POLL_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
