"""Whether the running call was asked before, of a worker that died before it could answer.

After a worker's death the kernel hands its unanswered requests to the next one. What the dead
worker was asked may be done already: for such a call the filesystem answers by the outcome
(mkdir of a directory that is there: its attributes; unlink of a name that is gone: success).

An adapter wraps such a call in `replaying()`; the filesystem asks `is_resent()` in the very thread
it was called in, before it hands work to others. Per thread, no locks.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_call = threading.local()


def is_resent() -> bool:
    """Say whether the call that this thread is answering may have been carried out already."""
    return getattr(_call, "resent", False)


@contextmanager
def replaying() -> Iterator[None]:
    """Mark the calls this thread makes meanwhile as asked before."""
    _call.resent = True
    try:
        yield
    finally:
        _call.resent = False
