"""Keeping one unexpected failure from ending what serves many: a thread, a round over all files.

For bugs only: what is known to fail is handled where it happens. No state, any thread.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def bulkhead(what: str, *, pause: float = 0.0, **where: object) -> Iterator[None]:
    """Log an unexpected exception of the block, in one line with its traceback, and go on after it.

    A thread that would come back at once to what failed waits `pause` seconds before it does.
    """
    try:
        yield
    except Exception:
        log.exception("a bug: %s failed; the rest goes on", what, extra=where)
        time.sleep(pause)
