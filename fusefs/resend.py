"""The request that the running call answers, and whether it is a resent one.

After a worker's death the kernel resends its unanswered requests to the next one. The dead worker
may have carried them out: then the filesystem answers by the outcome (mkdir of an existing
directory: its attributes; unlink of a missing name: success).

A driver calls `asked()` before a call; the filesystem calls `is_resent()` in the same thread,
before it passes work to others. Per thread, no locks.
"""

import threading

_call = threading.local()


def asked(unique: int, *, again: bool = False) -> None:
    """Note the request that this thread answers from now on: its unique number, 0 for none.

    `again`: it is resent; a dead worker had it before, with the same number.
    """
    _call.unique = unique
    _call.resent = again


def unique() -> int:
    """Return the unique number of the request that this thread answers; 0 for none."""
    return getattr(_call, "unique", 0)


def is_resent() -> bool:
    """Return whether the call of this thread may have been carried out already."""
    return getattr(_call, "resent", False)
