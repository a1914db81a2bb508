"""Which request the running call answers, and whether it was asked before.

After a worker's death the kernel hands its unanswered requests to the next one. What the dead
worker was asked may be done already: for such a call the filesystem answers by the outcome
(mkdir of a directory that is there: its attributes; unlink of a name that is gone: success).

An adapter calls `asked()` before such a call; the filesystem asks `is_resent()` in the very thread
it was called in, before it hands work to others. Per thread, no locks.
"""

import threading

_call = threading.local()


def asked(unique: int, *, again: bool = False) -> None:
    """Say which request this thread answers from now on: the kernel's number, 0 for none.

    `again`: a worker that died had it before, under the same number.
    """
    _call.unique = unique
    _call.resent = again


def unique() -> int:
    """Return the number of the request that this thread answers; 0 where there is none."""
    return getattr(_call, "unique", 0)


def is_resent() -> bool:
    """Say whether the call that this thread is answering may have been carried out already."""
    return getattr(_call, "resent", False)
