"""Helper threads of the driver: where the process may have no more, the mount goes on without one.

A container's limit of processes counts threads, too (cgroups(7), pids). Any thread; no state.
"""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


def begun(work: Callable[[], object], name: str) -> threading.Thread | None:
    """Start a daemon thread; None, with a warning, where there can be none."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        log.warning("no thread %s: %s; the mount goes on without it", name, error)
        return None
    return thread
