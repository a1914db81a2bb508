"""Which answers of the store our own changes have overtaken.

An answer tells how an object was at some moment between question and answer. Where a change of ours
to that object was under way in that time, nobody knows which of the two came first: the answer must
not be taken for news. The client notes every request here that changes an object; whoever asks
keeps the time before it asked, and has the answer checked when it takes it over.

Not here: what others change; no request. Any thread; `_lock` is a leaf.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fusefs import locks
from fusefs.errors import NotFound
from fusefs.locks import Rank

# The requests after which a key has another object, by boto3's names.
CHANGING = frozenset(
    {
        "put_object",
        "copy_object",
        "delete_object",
        "rename_object",
        "complete_multipart_upload",
    }
)
# More than can end while one answer is on its way; older answers all count as overtaken.
KEPT = 16_384
# How often a question about a file that is changed all the time is asked.
TRIES = 4

T = TypeVar("T")


class Changes:
    """When this mount's own changes ended, by key. All times are monotonic seconds."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = locks.lock(Rank.LEAF)
        self._under_way: Counter[str] = Counter()
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._kept = kept
        self._forgotten = 0.0

    @contextmanager
    def under_way(self, key: str) -> Iterator[None]:
        """Around a request that changes `key`; it counts, whatever becomes of it."""
        with self._lock:
            self._under_way[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._end(key)

    def _end(self, key: str) -> None:
        self._under_way[key] -= 1
        if not self._under_way[key]:
            del self._under_way[key]
        self._ended[key] = time.monotonic()
        self._ended.move_to_end(key)
        if len(self._ended) > self._kept:
            self._forgotten = self._ended.popitem(last=False)[1]

    def overtook(self, key: str, asked: float) -> bool:
        """Say whether an answer about `key`, asked for at `asked`, may be older than a change."""
        with self._lock:
            return key in self._under_way or self._ended.get(key, self._forgotten) >= asked

    def overtook_below(self, prefix: str, asked: float) -> bool:
        """Say the same of an answer about the keys below `prefix`."""
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
        """Ask until no change of ours came in between; return the answer and when it was asked.

        Of a file that is changed all the time the last answer counts. Raises what `ask` does.
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
