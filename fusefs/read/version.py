"""The content of one version, shared by all handles that have it open.

A read takes what is in flight from its part, what is on disk from the cache file, and has the rest
fetched: the blocks it needs at once, and, where the handle is read sequentially, more and more
ahead of it. No byte is in two parts, and none is fetched that is on disk.

Not here: sequential detection (`readahead`), bytes in flight (`fetches`), memory (`readpool`).

Threading: any thread; everything but the bytes themselves is guarded by the lock of `readpool`.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from fusefs.cache.blockindex import Identity
from fusefs.cache.cachefile import CacheFile
from fusefs.counters import Count
from fusefs.errors import FsError, NotFound, Stale, Unavailable
from fusefs.interface import Extent
from fusefs.read.backfill import AROUND, PIECE, Backfill
from fusefs.read.fetches import Fetch, FetchMap
from fusefs.read.moves import Moves
from fusefs.read.readahead import ReadAhead, cut
from fusefs.read.readpool import ReadPool

log = logging.getLogger(__name__)

# A read that finds its bytes gone from the disk again and again fetches them for itself.
TRIES = 8


class ObjectVersion:
    """One version of an object; made by `Reader.open`, closed by each who opened it."""

    def __init__(
        self,
        pool: ReadPool,
        file: CacheFile,
        rekey: Callable[["ObjectVersion", str, str], None],
        forget: Callable[["ObjectVersion"], None],
    ) -> None:
        self.key, self.etag, self.size = file.key, file.etag, file.size
        self.users = 1
        self.pending = 0  # parts queued or in flight
        self._pool, self._file = pool, file
        self._rekey, self._forget = rekey, forget
        self._parts = FetchMap()
        self._moves = Moves(pool.moved)
        self._backfill = Backfill(max(1, pool.limits.parallel * 3 // 4), pool.counters)

    def stream(self) -> ReadAhead:
        """Return the state of one more handle."""
        return ReadAhead(self._pool.limits.first, self._pool.part)

    def whole_fd(self) -> int:
        """Return a descriptor of a file with exactly this content, valid until `close`, or -1."""
        return self._file.verified_fd()

    def read_into(self, offset: int, view: memoryview, stream: ReadAhead) -> int:
        """Fill `view` from `offset`; return the bytes filled, fewer only at the end of file.

        Blocks until they are there; raises `Stale` when the store has another version now, and
        what else `RangeSource.get_into` raises.
        """
        stop = min(offset + len(view), self.size)
        position, tries, missed = offset, 0, 0.0
        if offset < stop and self._file.whole:
            position += self._on_disk(offset, view[: stop - offset])
            if self._backfill.unread:
                with self._pool.lock:
                    self._backfill.used(offset, position)
        if position < stop:
            missed = self._plan(position, stop, stream)
        while position < stop:
            rest = view[position - offset : stop - offset]
            done = self._some(position, rest, insist=tries > TRIES)
            tries = 0 if done else tries + 1
            position += done
        if missed:
            with self._pool.lock:
                self._backfill.took(time.monotonic() - missed)
        return max(0, stop - offset)

    def read_now(self, offset: int, view: memoryview) -> int:
        """Do what `read_into` does if it is in memory, of a whole file on disk; else return -1."""
        view = view[: max(0, self.size - offset)]
        if not view:
            return 0
        if self._backfill.unread or not self._file.read_now(offset, view):
            return -1
        self._pool.counters.add(Count.HIT, len(view))
        return len(view)

    def extent(self, offset: int, size: int) -> Extent | None:
        """Return where bytes of a whole file on disk are, fewer only at its end; else None."""
        extent = None if self._backfill.unread else self._file.extent(offset, size)
        if extent is not None:
            self._pool.counters.add(Count.HIT, extent.size)
        return extent

    def _plan(self, offset: int, stop: int, stream: ReadAhead) -> float:
        """Have fetched what a read needs and what the next ones will need.

        Returns when that was, if the read has jumped to what isn't there; else 0.
        """
        pool = self._pool
        pool.room()
        with pool.lock:
            fresh = not stream.used
            cursor, jumped = stream.note(offset, stop)
            if jumped:
                self._give_up_ahead(stream)
            least = offset // self._file.identity.block * self._file.identity.block
            need = max(stop, least + pool.limits.first) if fresh else stop
            now, missed = time.monotonic(), 0.0
            if jumped and pool.fills(self.size):
                around = self._around(offset, stop)
                if around:
                    self._backfill.missed(now)
                    need, missed = around, now
            self._request(offset, need, pool.part, None)
            self._backfill.read(now)
            self._backfill.used(offset, stop)
            self._fill()
            if cursor.sequential and pool.limits.ahead:
                limit = pool.window((id(stream), cursor.number))
                start, end, piece = stream.plan(cursor, self.size, limit)
                stream.rewind(self._request(start, end, piece, stream))
        return missed

    def _around(self, offset: int, stop: int) -> int:
        """Return up to where a read that jumped is fetched: to what is there, if that is near.

        0 where what it needs first is there, or on its way.
        """
        for low, length in self._file.missing(offset, max(AROUND, stop - offset)):
            for start, end in self._parts.gaps(low, low + length):
                return max(stop, end) if start <= offset else 0
        return 0

    def _fill(self) -> None:
        """Have more of the rest fetched, while readers go on to miss; the lock is held."""
        fill, pool = self._backfill, self._pool
        if not self.users or pool.closed or not fill.active(time.monotonic()):
            return
        mine = [part for part in self._parts if part.stream is fill.stream and not part.over]
        if not pool.filling(id(self), self.size):
            return
        for _ in range(fill.parts - len(mine)):
            found = self._next_missing(fill.at)
            if found is None:
                fill.over()
                return
            if not self._begin(*found, fill.stream):
                return
            fill.begun(*found)
            fill.at = found[1]

    def _next_missing(self, start: int) -> tuple[int, int] | None:
        """Return the next range that is neither on disk nor on its way."""
        for offset, length in self._file.missing(start, self.size - start):
            for low, high in self._parts.gaps(offset, offset + length):
                return next(cut(low, high, PIECE, aligned=True))
        return None

    def _some(self, offset: int, view: memoryview, *, insist: bool) -> int:
        """Fill some of `view`; 0 when what was on disk or in memory has gone meanwhile."""
        part = self._join(offset)
        if part is None:
            done = self._on_disk(offset, view)
            if done:
                return done
            with self._pool.lock:
                if self._parts.at(offset) is None:
                    if not insist and not self._file.missing(offset, 1):
                        return 0
                    self._request(offset, offset + len(view), self._pool.part, None)
            part = self._join(offset)
            if part is None:
                return self._missed(self._alone(offset, view))
        try:
            return self._missed(part.copy(offset, view))
        finally:
            self._leave(part, offset + len(view))

    def _on_disk(self, offset: int, view: memoryview) -> int:
        done = self._file.read(offset, view)
        if done:
            self._pool.counters.add(Count.HIT, done)
        return done

    def _missed(self, done: int) -> int:
        self._pool.counters.add(Count.MISSED, done)
        return done

    def _join(self, offset: int) -> Fetch | None:
        """Return the part that has a byte, as one of its users."""
        with self._pool.lock:
            part = self._parts.at(offset)
            if part is not None:
                part.users += 1
                if not part.wanted and part.job is not None:
                    part.wanted = True
                    self._pool.fetcher.hurry(part.job)
            return part

    def _leave(self, part: Fetch, read_to: int) -> None:
        with self._pool.lock:
            part.users -= 1
            part.consumed = part.consumed or read_to >= part.stop
            self._settle(part)

    def _alone(self, offset: int, view: memoryview) -> int:
        """Fetch into the reader's own memory: there is no buffer to be had."""
        with self._pool.lock:
            start, stop = next(self._parts.gaps(offset, offset + len(view)), (offset, offset))
        if start > offset or start == stop:  # somebody else fetches it by now
            return 0
        part = Fetch(offset, stop, view[: stop - offset])
        error = self._get(part)
        if error is not None:
            raise error
        return len(part.view)

    def _request(self, start: int, stop: int, piece: int, ahead: ReadAhead | None) -> int:
        """Have fetched what is missing in a range; return up to where there was memory for it."""
        block = self._file.identity.block
        piece = max(block, piece // block * block)
        for offset, length in self._file.missing(start, stop - start):
            for low, high in self._parts.gaps(offset, offset + length):
                for at, end in cut(low, high, piece, aligned=ahead is not None):
                    if not self._begin(at, end, ahead):
                        return max(start, at)
        return stop

    def _begin(self, start: int, stop: int, ahead: ReadAhead | None) -> bool:
        if self._pool.closed:
            raise Unavailable("the filesystem is shutting down")
        part = self._pool.make(start, stop, wanted=ahead is None)
        if part is None:
            return False
        part.stream = ahead
        part.job = partial(self._fetch, part)
        self._parts.add(part)
        self.pending += 1
        self._pool.fetcher.submit(part.job, urgent=part.wanted)
        return True

    def _fetch(self, part: Fetch) -> Callable[[], None]:
        """Bring one part in; runs in a thread of the fetcher, which then has it kept."""
        error = self._get(part)
        part.end(error)
        if error is not None and not part.wanted:
            log.debug("read-ahead of %s failed: %s", self.key, error)
        if error is None and part.stream is self._backfill.stream:
            with self._pool.lock:
                self._fill()
        return partial(self._keep, part)

    def _keep(self, part: Fetch) -> None:
        """Write to the disk what came of a part."""
        self._file.write(part.start, part.view[: part.filled])
        with self._pool.lock:
            part.done = True
            part.cached = not self._file.missing(part.start, part.stop - part.start)
            if part.error is not None:
                self._parts.remove(part)
                self._backfill.failed(part)
            self._settle(part)
            self.pending -= 1
            gone = not self.users and self._emptied()
        if gone:
            self._file.close()

    def _get(self, part: Fetch) -> FsError | None:
        """Fill a part, under a new name if the object gets one meanwhile."""
        while True:
            key, etag, done = self.key, self.etag, part.filled
            try:
                self._pool.source.get_into(
                    Identity(key, etag, self.size),
                    part.start + done,
                    part.view[done:],
                    partial(part.arrived, base=done),
                )
            except (Stale, NotFound) as error:
                if self._was_renamed(key, etag):
                    continue
                return error
            except FsError as error:
                return error
            except Exception as error:  # a bug, but whoever waits must not wait for ever
                log.exception("bug in a GET of %s", key)
                return Unavailable(f"reading {key} failed: {error}")
            if part.filled < len(part.view):
                return Unavailable(f"{key} ended early: {part.filled} of {len(part.view)} bytes")
            return None

    def _was_renamed(self, key: str, etag: str) -> bool:
        """Return whether the object has a new identity, waiting for a move in progress."""
        with self._pool.lock:
            return self._moves.settled(lambda: (self.key, self.etag) != (key, etag))

    def _settle(self, part: Fetch) -> None:
        """Drop a part that is over, or leave it in memory."""
        if not part.done or part.users:
            return
        if part.error is not None:
            self._pool.release(part)
        elif self._pool.worth_keeping(part) and self.users:
            self._pool.keep(part, self._drop)
        else:
            self._drop(part)

    def _drop(self, part: Fetch) -> None:
        self._parts.remove(part)
        self._pool.release(part)

    def _give_up_ahead(self, stream: ReadAhead | None = None) -> None:
        """Take back read-ahead (of one stream) that is still queued and nobody waits for."""
        for part in self._parts:
            mine = part.stream is not None and (stream is None or part.stream is stream)
            if not mine or part.users or part.done or part.job is None:
                continue
            if self._pool.fetcher.cancel(part.job):
                self.pending -= 1
                self._drop(part)
                self._backfill.failed(part)
                if part.stream is not None:
                    part.stream.rewind(part.start)

    def supply(self, head: bytes) -> None:
        """Keep the object's first bytes, which somebody fetched."""
        block = self._file.identity.block
        size = len(head) if len(head) >= self.size else len(head) // block * block
        if not self._file.missing(0, size):
            return
        self._file.write(0, memoryview(head))
        with self._pool.lock:
            if list(self._parts.gaps(0, size)) != [(0, size)] or not self._file.missing(0, size):
                return
            part = self._pool.make(0, size, wanted=True)
            if part is None:
                return
            part.view[:] = head[:size]
            part.arrived(size)
            part.over = part.done = True
            self._parts.add(part)
            self._settle(part)

    def moving(self) -> AbstractContextManager[None]:
        """While a copy of our own replaces or renames the object, `renamed` is to be expected.

        A GET that finds another version meanwhile waits for the end of this block, and goes on
        under the new identity if there is one.
        """
        return self._moves.under_way()

    def renamed(self, key: str, etag: str) -> None:
        """A copy of our own gave the same bytes a new key or ETag."""
        with self._pool.lock:
            old_key, old_etag = self.key, self.etag
            self._rekey(self, key, etag)
            self._pool.moved.notify_all()
        self._pool.cache.rename(old_key, old_etag, key, etag)

    def close(self) -> None:
        """Give back one use; after the last one nothing more is fetched."""
        with self._pool.lock:
            self.users -= 1
            gone = not self.users and self._emptied()
        if gone:
            self._file.close()

    def abort(self, error: FsError) -> None:
        """Wake whoever waits, with an error; the reader's lock is held."""
        for part in self._parts:
            if part.over:
                continue
            part.end(error)
            if part.job is not None and self._pool.fetcher.cancel(part.job):
                self.pending -= 1
                self._parts.remove(part)
                part.done = True
                self._settle(part)

    def _emptied(self) -> bool:
        """Nobody has this open: let go of everything but what is in flight."""
        self._give_up_ahead()
        for part in self._parts:
            if part.done and not part.users:
                self._drop(part)
        if self.pending:
            return False
        self._backfill.closed()
        self._forget(self)
        return True
