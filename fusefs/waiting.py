"""Saying that a thread is about to wait, so that somebody else does meanwhile what it did.

A reader of the kernel's requests answers brief ones itself, and listens again. Where an answer has
to wait after all (for the store, for a request that another thread sent, for a lock that is held
over one), `waits` is called before, and another reader listens. Whoever forgets to call it costs
the others some milliseconds (`kernel.brief`), nothing else.

Threading: any thread; what is told is the thread's own.
"""

import threading
from collections.abc import Callable


class _Told(threading.local):
    """Who wants to know that this thread waits; None where nobody does."""

    listener: Callable[[], None] | None = None


_told = _Told()


def listened(work: Callable[[], object], listener: Callable[[], None]) -> None:
    """Do `work`; `listener` is called at most once, before this thread first waits in it."""
    _told.listener = listener
    try:
        work()
    finally:
        _told.listener = None


def matters() -> bool:
    """Return whether anybody wants to know that this thread waits."""
    return _told.listener is not None


def waits() -> None:
    """Say that this thread is about to wait."""
    listener = _told.listener
    if listener is not None:
        _told.listener = None
        listener()


def waits_if_held(lock: "threading.Lock | threading.RLock") -> None:
    """Say so where another thread has a lock that this one is about to take."""
    if _told.listener is None:
        return
    if lock.acquire(blocking=False):
        lock.release()
    else:
        waits()
