"""Answers of the store that our own changes may have overtaken.

An answer describes an object at some moment between question and answer. If a change of ours to
that object was in flight in that time, their order is unknown: the answer must not replace newer
knowledge. The client notes every request here that changes an object; a caller keeps the time
before its question, and has the answer checked before it uses it.

Not here: changes by other writers; no request. Any thread; `_lock` is a leaf.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fusefs import locks
from fusefs.errors import NotFound
from fusefs.locks import Rank

# The requests that change the object of a key, by boto3's names.
CHANGING = frozenset(
    {
        "put_object",
        "copy_object",
        "delete_object",
        "rename_object",
        "complete_multipart_upload",
    }
)
# More than can end while one answer is in flight; older answers all count as overtaken.
KEPT = 16_384
# Attempts of a question about a file that changes all the time.
TRIES = 4

T = TypeVar("T")


class Changes:
    """The end times of this mount's own changes, by key. All times are monotonic seconds."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = locks.lock(Rank.LEAF)
        self._under_way: dict[str, int] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._kept = kept
        self._forgotten = 0.0

    @contextmanager
    def under_way(self, key: str) -> Iterator[None]:
        """Surround a request that changes `key`; it counts whatever its outcome."""
        self.begin(key)
        try:
            yield
        finally:
            self.end(key)

    def begin(self, key: str) -> None:
        """Note a request that changes `key`, as `under_way` does, in fewer calls; `end` follows."""
        with self._lock:
            self._under_way[key] = self._under_way.get(key, 0) + 1

    def end(self, key: str) -> None:
        """Note the end of a request that began."""
        with self._lock:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
            self._ended[key] = time.monotonic()
            self._ended.move_to_end(key)
            if len(self._ended) > self._kept:
                self._forgotten = self._ended.popitem(last=False)[1]

    def overtook(self, key: str, asked: float) -> bool:
        """Return whether an answer about `key`, asked at `asked`, may be older than a change."""
        with self._lock:
            return key in self._under_way or self._ended.get(key, self._forgotten) >= asked

    def overtook_below(self, prefix: str, asked: float) -> bool:
        """Return the same for an answer about the keys below `prefix`."""
        with self._lock:
            if asked <= self._forgotten or any(key.startswith(prefix) for key in self._under_way):
                return True
            for key in reversed(self._ended):
                if self._ended[key] < asked:
                    return False
                if key.startswith(prefix):
                    return True
            return False

    def settled(self, key: str, ask: Callable[[], T]) -> tuple[T, float]:
        """Ask until no change of ours intervened; return the answer and the time of its question.

        For a file that changes all the time the last answer counts. Raises what `ask` raises.
        """
        for _ in range(TRIES - 1):
            asked = time.monotonic()
            try:
                answer = ask()
            except NotFound:
                if not self.overtook(key, asked):
                    raise
            else:
                if not self.overtook(key, asked):
                    return answer, asked
        asked = time.monotonic()
        return ask(), asked
