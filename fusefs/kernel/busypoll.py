"""Busy polling: waiting for the next request without sleeping, while requests follow closely.

A reader that sleeps is woken by the caller's core, and its own core wakes up with cold caches: in a
virtual machine that takes longer than a small read does. So while requests follow each other
closely, their reader looks for the next one again and again, for as long as the wake-up would take.
That takes less of the processor than sleeping, if a request comes; after one wait in vain the
reader sleeps again, until as many requests have followed each other closely.

Threading: each reader has its own.
"""

import select
import time

# Seconds from one request to the next that count as close, in the mean of `ROW` of them.
CLOSE, ROW = 0.0002, 32
POLL_SECONDS = 0.0001


class BusyPoll:
    """Looks for requests at `device`; `answered` after each answer, `wait` before the next.

    `close`: see `CLOSE`; `patience`: seconds of one wait.
    """

    def __init__(
        self, device: int, *, close: float = CLOSE, patience: float = POLL_SECONDS
    ) -> None:
        self._close = close
        self._patience = patience
        self._poll = select.poll()
        self._poll.register(device, select.POLLIN)
        self._row = 0
        self._began = 0.0
        self.active = False

    def start(self) -> None:
        """Begin to count requests: something else came between."""
        self._row, self.active, self._began = 0, False, time.monotonic()

    def answered(self) -> bool:
        """Count an answered request; return whether it ends a row of them."""
        self._row += 1
        if self._row < ROW:
            return False
        now = time.monotonic()
        self.active = now - self._began < ROW * self._close
        self._row, self._began = 0, now
        return True

    def wait(self) -> None:
        """Wait for a request, or the end of the mount, if one is likely to come soon."""
        if not self.active:
            return
        until = time.monotonic() + self._patience
        while not self._poll.poll(0):
            if time.monotonic() > until:
                self.start()
                return
