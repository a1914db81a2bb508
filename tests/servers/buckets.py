"""Fresh buckets without a wait: made ahead of the tests and deleted behind them.

SeaweedFS takes 0.2 s for the first object of a bucket, nearly all of it waiting. `take` and
`give_back` are called from one thread; the work is done in another, in that order.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from tests.servers.s3 import Bucket, Endpoint

_AHEAD = 3
_numbers = itertools.count(1)


def bucket_name() -> str:
    """Return a bucket name nothing else in this run has."""
    return f"test-{os.getpid()}-{next(_numbers)}"


class Buckets:
    """The buckets of one server; use as a context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buckets")
        self._made: deque[Future[Bucket]] = deque()
        self._deleted: list[Future[None]] = []

    def take(self) -> Bucket:
        """Return an empty bucket that nobody has used."""
        while len(self._made) <= _AHEAD:
            self._made.append(self._thread.submit(self._make))
        return self._made.popleft().result()

    def _make(self) -> Bucket:
        bucket = self._endpoint.create_bucket(bucket_name())
        bucket.put("first")
        bucket.delete("first")
        return bucket

    def give_back(self, bucket: Bucket) -> None:
        """Delete a bucket with all that is in it, soon."""
        self._deleted.append(self._thread.submit(bucket.destroy))

    def __enter__(self) -> Buckets:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        for each in self._deleted:
            if not each.cancelled():
                each.result()
