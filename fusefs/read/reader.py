"""Serves reads of object versions to any number of handles.

`Reader` is the way in: it knows which versions are open and ends them. What a read does is in
`version`, what all of them share in `readpool`.

Threading: any thread, under the one lock of `readpool`.
"""

import logging

from fusefs.cache.cache import Cache
from fusefs.counters import Counters
from fusefs.errors import Unavailable
from fusefs.read.nodesource import NodeBlocks, RangeSource
from fusefs.read.readpool import ReadLimits, ReadPool
from fusefs.read.version import ObjectVersion

__all__ = ["ObjectVersion", "RangeSource", "ReadLimits", "Reader"]

log = logging.getLogger(__name__)

# Seconds `close` waits for GETs in flight; their threads are daemons and may outlive it.
CLOSE_SECONDS = 5.0


class Reader:
    """All open versions, by key and ETag."""

    def __init__(
        self,
        store: RangeSource,
        cache: Cache,
        limits: ReadLimits,
        counters: Counters | None = None,
        node: NodeBlocks | None = None,
    ) -> None:
        """`node`: the cache that the node's pods share, where there is one; closed with this."""
        self._pool = ReadPool(store, cache, limits, counters, node)
        self._contents: dict[tuple[str, str], ObjectVersion] = {}

    @property
    def memory(self) -> int:
        """Bytes of all buffers there are."""
        return self._pool.buffers.total

    def open(self, key: str, etag: str, size: int, head: bytes = b"") -> ObjectVersion:
        """Return the content of a version; every `open` needs its `close`.

        `head`: first bytes that the caller has fetched already.
        """
        content = self._find(key, etag, size) or self._enter(key, etag, size)
        if head:
            content.supply(head)
        return content

    def _find(self, key: str, etag: str, size: int) -> ObjectVersion | None:
        with self._pool.lock:
            content = self._contents.get((key, etag))
            if content is None or content.size != size:
                return None
            content.users += 1
            return content

    def _enter(self, key: str, etag: str, size: int) -> ObjectVersion:
        file = self._pool.cache.open(key, etag, size)
        file.prepare()
        made = ObjectVersion(self._pool, file, self._rekey, self._forget)
        with self._pool.lock:
            content = self._contents.get((key, etag))
            if content is None or content.size != size:
                self._contents[key, etag] = made
                return made
            content.users += 1
        file.close()
        return content

    def _rekey(self, content: ObjectVersion, key: str, etag: str) -> None:
        """A content has a new identity from now on; the lock is held."""
        self._forget(content)
        content.key, content.etag = key, etag
        self._contents.setdefault((key, etag), content)

    def _forget(self, content: ObjectVersion) -> None:
        """A content is not to be found any more; the lock is held."""
        if self._contents.get((content.key, content.etag)) is content:
            del self._contents[content.key, content.etag]
        if not self._contents:
            self._pool.buffers.trim()

    def close(self) -> None:
        """Stop fetching; who waits for bytes gets `Unavailable`."""
        pool = self._pool
        with pool.lock:
            pool.closed = True
            pool.moved.notify_all()
            for content in self._contents.values():
                content.abort(Unavailable("the filesystem is shutting down"))
        pool.source.close()
        if not pool.fetcher.close(CLOSE_SECONDS):
            log.warning("requests to the store were still running at the end")
