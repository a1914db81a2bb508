"""A guard that keeps one unexpected failure from ending a thread or loop that serves many.

For bugs only: expected failures are handled where they occur. No state, any thread.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def bulkhead(what: str, *, pause: float = 0.0, **where: object) -> Iterator[None]:
    """Log an unexpected exception of the block, in one line with its traceback, and continue.

    After a failure the thread waits `pause` seconds, so that a loop doesn't repeat it at once.
    """
    try:
        yield
    except Exception:
        log.exception("a bug: %s failed; the rest goes on", what, extra=where)
        time.sleep(pause)
