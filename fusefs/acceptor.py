"""Accepting clients, also when the process has no descriptor left for one.

accept(2) then fails as long as that lasts, and the client stays in the queue: a loop without a
pause would take a core and fill the log. Not here: who is let in, and what is said to them.

Standard library only, and little of it: the keeper and probes import this. Each thread that accepts
has an `Acceptor` of its own.
"""

import errno
import socket
import time
from collections.abc import Callable

PAUSE_SECONDS = 0.05
REPORT_SECONDS = 60.0
# accept(2): the listener is closed, or was shut down.
_ENDED = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})


class Acceptor:
    """Accepts; a failure is reported once a minute at most, and followed by a pause."""

    def __init__(
        self, report: Callable[[OSError], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`report` logs why no client can be accepted now."""
        self._report = report
        self._clock = clock
        self._reported: float | None = None

    def accept(self, listener: socket.socket) -> tuple[socket.socket, object] | None:
        """Return the next client with its address, None after a failure that may pass.

        OSError once the listener was closed or shut down.
        """
        try:
            return listener.accept()
        except OSError as error:
            if error.errno in _ENDED:
                raise
            now = self._clock()
            if self._reported is None or now - self._reported >= REPORT_SECONDS:
                self._reported = now
                self._report(error)
        time.sleep(PAUSE_SECONDS)
        return None
