"""Locks with a rank, and a check that every thread takes them in the order of the ranks.

`Rank` is the table of docs/design.md, top to bottom: a thread that holds a lock takes only locks
below it. In production the functions here return the standard library's locks and check nothing.
Where S3MOUNT_LOCK_ORDER in the environment names a file, they return checked locks. These append a
report to the file when a lock is taken against the order, or when a thread waits for the store
while it holds a lock that isn't `PATIENT`. The tests set the variable for themselves and for every
process they start, and fail on a report.

A lock acquired with a timeout (or without waiting) can't be part of a deadlock: acquiring it isn't
checked, holding it is. Not here: what the locks guard. Any thread.
"""

import os
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import Any, cast


class Rank(Enum):
    """The kinds of locks, each by its name in docs/design.md, in the order of taking them."""

    DIRECTORIES = "Renames._directories"
    NODE = "Node.lock"
    COMMIT = "FileContent.commit_lock"
    PROBING = "Conditions._asking"
    STATE = "PendingChanges.state"
    TREE = "Tree.lock"
    LOADING = "Listing._loading"
    WALK = "_Walk._loading"
    SWEEP = "Sweeps._lock"
    LISTING = "Listing._lock"
    BINDING = "Binding._lock"
    LEASE = "_Lease._lock"
    READ_POOL = "ReadPool.lock"
    SHARING = "Sharing._lock"
    TURNS = "Turns._lock"
    SETUP = "CacheFile._setup"
    CACHE = "Cache._lock"
    SDK = "Client._making"
    LEAF = "leaves"


# Locks that may be held during a request to the store; see the table.
PATIENT = frozenset(
    {Rank.DIRECTORIES, Rank.NODE, Rank.COMMIT, Rank.PROBING, Rank.LOADING, Rank.WALK}
)

_PLACE = {rank: place for place, rank in enumerate(Rank)}


class _Held(threading.local):
    """The checked locks that a thread holds, each as often as it took it."""

    def __init__(self) -> None:
        self.locks: list[_Checked] = []
        self.gathering: Rank | None = None  # several locks of this rank are being taken, in order


class _Checker:
    """Appends a report to the file `path` for each breach of the order."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.held = _Held()

    def taking(self, lock: "_Checked") -> None:
        wrong = [each for each in self.held.locks if not self._may_follow(lock, each)]
        if wrong:
            self._report(f"{lock.rank.value} is taken while {_names(wrong)} is held")

    def _may_follow(self, lock: "_Checked", held: "_Checked") -> bool:
        if lock.rank is held.rank:
            return self.held.gathering is lock.rank and lock is not held
        return _PLACE[held.rank] < _PLACE[lock.rank]

    def waiting(self) -> None:
        wrong = [each for each in self.held.locks if each.rank not in PATIENT]
        if wrong:
            self._report(f"the store is waited for while {_names(wrong)} is held")

    def _report(self, what: str) -> None:
        stack = "".join(traceback.format_stack()[:-3])
        text = f"lock order: {what}, in {threading.current_thread().name}\n{stack}\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


class _Checked:
    """A lock of the standard library that reports to the checker; a Condition can use it."""

    def __init__(self, inner: Any, rank: Rank, checker: _Checker, *, again: bool) -> None:
        self.rank = rank
        self._inner = inner
        self._checker = checker
        self._again = again  # its holder may take it again

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        held = self._checker.held.locks
        if blocking and timeout < 0 and not (self._again and self in held):
            self._checker.taking(self)
        taken = bool(self._inner.acquire(blocking, timeout))
        if taken:
            held.append(self)
        return taken

    def release(self) -> None:
        self._inner.release()
        held = self._checker.held.locks
        for place in reversed(range(len(held))):
            if held[place] is self:
                del held[place]
                return

    def locked(self) -> bool:
        return bool(self._inner.locked())

    def _is_owned(self) -> bool:
        return self in self._checker.held.locks

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _names(held: list[_Checked]) -> str:
    return ", ".join(each.rank.value for each in held)


def _configured() -> _Checker | None:
    path = os.environ.get("S3MOUNT_LOCK_ORDER")
    return _Checker(path) if path else None


_CHECKER = _configured()


def lock(rank: Rank) -> threading.Lock:
    """Return a new lock of this rank."""
    if _CHECKER is None:
        return threading.Lock()
    return cast("threading.Lock", _Checked(threading.Lock(), rank, _CHECKER, again=False))


def rlock(rank: Rank) -> threading.RLock:
    """Return a new lock of this rank that its holder may take again."""
    if _CHECKER is None:
        return threading.RLock()
    return cast("threading.RLock", _Checked(threading.RLock(), rank, _CHECKER, again=True))


def condition(rank: Rank) -> threading.Condition:
    """Return a new condition with its own new lock of this rank."""
    return threading.Condition(lock(rank))


@contextmanager
def together(rank: Rank, locks: "Mapping[int, threading.RLock]") -> Iterator[None]:
    """Hold several locks of one rank, taken in the order of their numbers.

    There is no other way to: a thread that holds a lock of a rank may not take another of it.
    """
    with ExitStack() as stack:
        with _gathering(rank):
            for number in sorted(locks):
                stack.enter_context(locks[number])
        yield


@contextmanager
def _gathering(rank: Rank) -> Iterator[None]:
    if _CHECKER is None:
        yield
        return
    _CHECKER.held.gathering = rank
    try:
        yield
    finally:
        _CHECKER.held.gathering = None


def waits_for_store() -> None:
    """Check the locks of this thread, which is about to send a request and wait for its answer."""
    if _CHECKER is not None:
        _CHECKER.waiting()
