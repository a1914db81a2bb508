"""Locks with a rank, and a check that every thread takes them in the order of the ranks.

`Rank` is the table of docs/design.md, top to bottom: who holds a lock takes only locks below it. In
production the functions here return the standard library's locks and nothing is checked. Where the
environment has S3MOUNT_LOCK_ORDER, the name of a file, they return checked ones: a lock taken
against the order, or a store that is waited for with the wrong lock held, adds a report to that
file, which the tests look at. Tests set it for themselves and for every process they start.

A lock that is waited for only for a while (or not at all) can't be part of a deadlock: taking it is
not checked, holding it is. Not here: what the locks guard. Any thread.
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
    SETUP = "CacheFile._setup"
    CACHE = "Cache._lock"
    SDK = "Client._making"
    LEAF = "leaves"


# These may be held over a request to the store; see the table.
PATIENT = frozenset(
    {Rank.DIRECTORIES, Rank.NODE, Rank.COMMIT, Rank.PROBING, Rank.LOADING, Rank.WALK}
)

_PLACE = {rank: place for place, rank in enumerate(Rank)}


class _Held(threading.local):
    """The checked locks that a thread holds, each as often as it took it."""

    def __init__(self) -> None:
        self.locks: list[_Checked] = []
        self.gathering: Rank | None = None  # several of this rank are being taken, in their order


class _Checker:
    """Reports to the file `path` what goes against the order."""

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
    """A lock of the standard library that tells the checker; good for a Condition, too."""

    def __init__(self, inner: Any, rank: Rank, checker: _Checker, *, again: bool) -> None:
        self.rank = rank
        self._inner = inner
        self._checker = checker
        self._again = again  # may be taken again by who holds it

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
    """Return a new condition with a lock of this rank of its own."""
    return threading.Condition(lock(rank))


@contextmanager
def together(rank: Rank, locks: "Mapping[int, threading.RLock]") -> Iterator[None]:
    """Hold several locks of one rank, taken in the order of their numbers: the only way to."""
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
    """Say that the running thread is about to send a request and to wait for its answer."""
    if _CHECKER is not None:
        _CHECKER.waiting()
