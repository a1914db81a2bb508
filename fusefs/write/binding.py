"""The version of an object that a body is bound to, and its content while somebody reads it.

A commit binds a body to another version while reads of the former go on: a content is closed after
its last reader. Any thread; the locks are leaves, never held over a request.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fusefs import locks
from fusefs.errors import NotFound, Stale
from fusefs.interface import Extent
from fusefs.locks import Rank
from fusefs.objects import ObjectInfo
from fusefs.read.readahead import ReadAhead
from fusefs.read.reader import Reader
from fusefs.read.version import ObjectVersion


class _Lease:
    """One open content and the number of its users, the first being whoever made this."""

    def __init__(self, content: ObjectVersion) -> None:
        self.content = content
        self._users = 1
        self._lock = locks.lock(Rank.LEASE)

    def take(self) -> None:
        with self._lock:
            self._users += 1

    def drop(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self.content.close()


class Binding:
    """What `info` says is in S3, None where nothing is; `where` is for messages."""

    def __init__(self, reader: Reader, info: ObjectInfo | None, where: str) -> None:
        self.info = info
        self._reader = reader
        self._where = where
        self._lease: _Lease | None = None
        self._lock = locks.lock(Rank.BINDING)

    def attach(self, content: ObjectVersion) -> None:
        """Use `content`, already opened for this version."""
        with self._lock:
            if self._lease is None:
                self._lease = _Lease(content)
                return
        content.close()

    @contextmanager
    def content(self) -> Iterator[ObjectVersion]:
        """Give the version's content, open as long as the block lasts; raises NotFound."""
        lease = self._taken() or self._opened()
        try:
            yield lease.content
        finally:
            lease.drop()

    def stream(self) -> ReadAhead | None:
        """Return a read-ahead state for a new handle; None where nothing is in S3."""
        if self.info is None:
            return None
        with self.content() as content:
            return content.stream()

    def _taken(self) -> _Lease | None:
        with self._lock:
            if self._lease is not None:
                self._lease.take()
            return self._lease

    def _opened(self) -> _Lease:
        info = self.info
        if info is None:
            raise NotFound(f"{self._where} is not in S3 yet")
        lease = _Lease(self._reader.open(info.key, info.etag, info.size))
        with self._lock:
            if self._lease is None and self.info is info:
                lease.take()
                self._lease = lease
        return lease

    def read(self, offset: int, view: memoryview, stream: ReadAhead | None = None) -> None:
        """Fill all of `view`; raises Stale where the version has fewer bytes."""
        with self.content() as content:
            stream = stream or content.stream()
            done = 0
            while done < len(view):
                got = content.read_into(offset + done, view[done:], stream)
                if not got:
                    raise Stale(f"{self._where} is shorter than it was")
                done += got

    def read_now(self, offset: int, view: memoryview) -> int:
        """Fill `view`, less only at the end, where nothing is waited for; -1 where it may be."""
        lease = self._taken()
        if lease is None:
            return -1
        try:
            return lease.content.read_now(offset, view)
        finally:
            lease.drop()

    def extent(self, offset: int, size: int) -> Extent | None:
        """Return where bytes are, fewer only at the end, if they are all on disk; else None."""
        lease = self._taken()
        if lease is None:
            return None
        try:
            extent = lease.content.extent(offset, size)
        except BaseException:
            lease.drop()
            raise
        if extent is None:
            lease.drop()
            return None
        return extent.then(lease.drop)

    def rebind(self, info: ObjectInfo, start: bytes | None = None) -> None:
        """Go over to another version; `start` are bytes of it that are known already."""
        lease = None
        if start:
            lease = _Lease(self._reader.open(info.key, info.etag, info.size, start))
        with self._lock:
            old, self._lease = self._lease, lease
            self.info = info
        if old is not None:
            old.drop()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """While a copy of ours is about to give the version another identity."""
        lease = self._taken()
        if lease is None:
            yield
            return
        try:
            with lease.content.moving():
                yield
        finally:
            lease.drop()

    def moved(self, info: ObjectInfo) -> None:
        """The same bytes have another identity, by a copy of ours."""
        with self._lock:
            self.info = info
            lease = self._lease
        if lease is not None:
            lease.content.renamed(info.key, info.etag)

    def close(self) -> None:
        """Let go of the content; the binding stays usable."""
        with self._lock:
            lease, self._lease = self._lease, None
        if lease is not None:
            lease.drop()
