"""The headers of objects, remembered by key within a number of bytes; the oldest go first.

Headers are kept packed: as Python objects they would take three times as much. Not here: what
they mean, and whether they still are true of a key (`lookup`).

Threading: any thread; `_lock` is a leaf.
"""

import marshal
import time
from collections import OrderedDict
from dataclasses import dataclass

from fusefs import locks
from fusefs.locks import Rank
from fusefs.objects import Headers, ObjectInfo

REMEMBERED, REMEMBERED_BYTES = 200_000, 12 << 20
# What an entry takes beside its key, ETag and packed headers, measured with tracemalloc: their
# objects' own heads, a tuple, two numbers, a place in an ordered dictionary.
ENTRY_BYTES = 450


@dataclass(frozen=True, slots=True)
class Known:
    """Headers of one version of an object, and when they were learned (monotonic seconds)."""

    etag: str
    modified: float
    headers: Headers
    at: float


_Packed = tuple[str, float, bytes, float]


class Remembered:
    """At most `most` objects in at most `limit` bytes."""

    def __init__(self, most: int, limit: int) -> None:
        self.used = 0
        self._most = most
        self._limit = limit
        self._known: OrderedDict[str, _Packed] = OrderedDict()
        self._lock = locks.lock(Rank.LEAF)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, info: ObjectInfo) -> None:
        """Remember the headers of an object; one without headers is nothing new."""
        if info.headers is None:
            return
        encoded = marshal.dumps((dict(info.headers.metadata), dict(info.headers.system)))
        packed = (info.etag, info.modified, encoded, time.monotonic())
        with self._lock:
            if info.key in self._known:
                self._drop(info.key)
            self._known[info.key] = packed
            self.used += _size(info.key, packed)
            while self._known and (self.used > self._limit or len(self._known) > self._most):
                self._drop(next(iter(self._known)))

    def get(self, key: str) -> Known | None:
        """Return what is remembered of a key."""
        with self._lock:
            packed = self._known.get(key)
            if packed is None:
                return None
            self._known.move_to_end(key)
        etag, modified, encoded, at = packed
        metadata, system = marshal.loads(encoded)  # noqa: S302 - bytes of our own memory
        return Known(etag, modified, Headers(metadata, system), at)

    def completed(self, info: ObjectInfo) -> ObjectInfo | None:
        """Return an object of a LIST with the headers of that version; None where none are known.

        LIST and HEAD agree on whole seconds only: HEAD's LastModified has no fraction.
        """
        known = self.get(info.key)
        if known is None or known.etag != info.etag or int(known.modified) != int(info.modified):
            return None
        return ObjectInfo(info.key, info.size, info.etag, info.modified, known.headers)

    def forget(self, key: str) -> None:
        """Forget a key."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: str) -> None:
        packed = self._known.pop(key, None)
        if packed is not None:
            self.used -= _size(key, packed)


def _size(key: str, packed: _Packed) -> int:
    return ENTRY_BYTES + len(key) + len(packed[0]) + len(packed[2])
