"""One file's content as this mount sees it: the object in S3 and what was changed on top of it.

All handles of a file in the mount share one body, so many readers and writers see one content.
A body is bound to one version (ETag) of its object: when others replace it, a later open gets a
new body and this one answers ESTALE.

Locks: `commit_lock` serialises changes and commits and may be held over S3 calls (it is "the
handle's own"); `_state` guards the fields, is taken inside it, and never over a request. Readers
take `_state` only, so they go on while an upload runs; only a read that finds its version gone
waits for `commit_lock`, to learn whether the change was ours. Who holds one body's `commit_lock`
waits for another's only for moments (`DirtySet.make_room`), but for a directory's rename, which
takes those of all files below it in one order.
"""

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import uuid4

from fusefs import locks
from fusefs.attributes import Posix
from fusefs.counters import Count
from fusefs.errors import Contended, Exists, FsError, NoSpace, NotFound, Stale, Unavailable
from fusefs.locks import Rank
from fusefs.objects import Headers, ObjectInfo
from fusefs.read.readahead import ReadAhead
from fusefs.read.version import ObjectVersion
from fusefs.s3.store import IF_ABSENT
from fusefs.write import conflicts, overlay
from fusefs.write.binding import Binding
from fusefs.write.fileupload import FileUpload
from fusefs.write.reconciler import Creation
from fusefs.write.retrystate import RetryState
from fusefs.write.serversidecopy import CopiedRange
from fusefs.write.staged import Record, Staged
from fusefs.write.staging import Depot
from fusefs.write.uploader import Committed

log = logging.getLogger(__name__)

FETCH = 4 << 20  # bytes made local at once
# A file up to this size that is in the cache as a whole is kept for whoever has it open when its
# object goes; of a larger one only what the cache happens to have.
KEPT_MOST = FETCH
FULL = (errno.ENOSPC, errno.EDQUOT)
SEAL_WAIT = 0.2  # seconds for a file's lock at the end of a process
_numbers = count(1)


class FileContent:
    """The content of one file; created by the filesystem, shared by its handles."""

    def __init__(
        self, depot: Depot, key: str, info: ObjectInfo | None, posix: Posix, node: int = 0
    ) -> None:
        self.depot = depot
        self.node = node
        self.key = key
        self.posix = posix
        self.headers = (info.headers if info is not None else None) or Headers()
        self.commit_lock = locks.rlock(Rank.COMMIT)
        self.unlinked = False
        self.failure: FsError | None = None
        self.trouble = RetryState()
        # The version the session journal knows of; it goes over to the next at a commit.
        self.logged_etag = info.etag if info is not None else None
        self.current_at = 0.0  # when S3 was asked whether it is the current version (monotonic)
        self.version = 0  # goes up with each change of what S3 holds
        self.number = next(_numbers)  # tells contents apart (`interface.Opened.content`)
        self.replaced = False  # others have put another version in its place
        # Whether it was opened while handles of another version of the same file were open.
        self.apart = False
        self.on_commit: Callable[[FileContent], None] = lambda _: None
        self._state = locks.lock(Rank.STATE)
        self._staged: Staged | None = None
        self._binding = Binding(depot.reader, info, f"s3://{depot.store.bucket}/{key}")
        self._delivery = FileUpload(depot, self._state, self._fill, self._fetch, self._adopt)

    @classmethod
    def restored(cls, depot: Depot, staged: Staged) -> "FileContent":
        """Make a body of a staged file that a former process left."""
        record = staged.record
        assert record.posix is not None  # noqa: S101 - bodies always write it
        self = cls(depot, record.key, record.base, record.posix, record.node)
        self.headers = record.headers
        self.unlinked = record.unlinked
        self._staged = staged
        self._delivery.left_by_another(staged)
        if not self.unlinked:
            depot.dirty.add(self)
        return self

    # -- what it is ------------------------------------------------------------------------------

    @property
    def info(self) -> ObjectInfo | None:
        """The object in S3 it is bound to; None while it isn't there."""
        return self._binding.info

    @property
    def size(self) -> int:
        """Bytes of the file as this mount sees it."""
        staged = self._staged
        if staged is not None:
            return staged.record.size
        return self.info.size if self.info is not None else 0

    @property
    def dirty(self) -> bool:
        """Whether S3 lacks something of it."""
        return self._staged is not None

    @property
    def unsent(self) -> int:
        """Bytes that were changed and aren't in S3."""
        with self._state:
            return self._staged.dirty.total() if self._staged is not None else 0

    @property
    def etag(self) -> str | None:
        """The version it is bound to; None while it isn't in S3."""
        return self.info.etag if self.info is not None else None

    # -- reading ---------------------------------------------------------------------------------

    def attach(self, content: ObjectVersion) -> None:
        """Use `content`, already opened for this body's version."""
        self._binding.attach(content)

    def stream(self) -> ReadAhead | None:
        """Return a read-ahead state for a new handle."""
        if self.info is None:
            return None
        with self._binding.content() as content:
            return content.stream()

    def whole_fd(self) -> int:
        """Return a descriptor with exactly this content for passthrough, or -1."""
        if self._staged is not None or self.info is None or not self.info.size:
            return -1
        with self._binding.content() as content:
            return content.whole_fd()

    def read_into(self, offset: int, view: memoryview, stream: ReadAhead | None) -> int:
        """Fill `view` from `offset`; fewer bytes only at the end of the file."""
        while True:
            version = self.version
            try:
                return self._read(offset, view, stream)
            except (Stale, NotFound) as error:
                with self.commit_lock:  # a commit or rename of ours may be about to tell why
                    if self.version == version and not self._reconciled():
                        if self.failure is not None:
                            raise self.failure from None
                        if self.unlinked:
                            raise Stale(f"{self.key} was removed, and isn't cached") from error
                        raise Stale(str(error)) from error  # deleted is replaced too

    def _read(self, offset: int, view: memoryview, stream: ReadAhead | None) -> int:
        with self._state:
            staged = self._staged
            count = max(0, min(len(view), self.size - offset))
            if staged is not None:
                elsewhere = overlay.local(staged, offset, view[:count])
            else:
                elsewhere = [(offset, offset + count, None)] if count else []
        for low, high, source in elsewhere:
            piece = view[low - offset : high - offset]
            if source is None:
                self._binding.read(low, piece, stream)
            else:
                overlay.read_copied(source, self.depot.reader, low, piece)
        return count

    # -- changing --------------------------------------------------------------------------------

    def create(self, flags: int) -> None:
        """Begin a new, empty file that isn't in S3 yet; `flags` are those of its open."""
        with self.commit_lock:
            flag = next((flag for flag in (os.O_TRUNC, os.O_APPEND) if flags & flag), None)
            self._delivery.creation = Creation(self.depot.store.server_time(), flag)
            self._stage()

    def write(self, offset: int, data: bytes | memoryview, append: bool = False) -> None:
        """Write all of `data`; raises NoSpace when neither eviction nor uploading makes room."""
        deadline = time.monotonic() + self.depot.full_wait
        while True:
            try:
                with self.commit_lock:
                    at = self.size if append else offset
                    with self._changing() as staged:
                        staged.write(at, data)
                    self._delivery.wrote(staged, at, at + len(data), self.posix)
            except (NoSpace, OSError) as error:
                full = isinstance(error, NoSpace) or error.errno in FULL
                if not full or not self.depot.dirty.make_room(deadline):
                    raise
            else:
                return

    def copy_in(self, copied: CopiedRange) -> None:
        """Take bytes of another object without moving them; its end may be the file's new end."""
        with self._changing() as staged:
            staged.copy_in(copied)

    def copies_from(self, prefix: str) -> bool:
        """Say whether it has ranges still to be copied from an object at or below `prefix`."""
        with self._state:
            staged = self._staged
            return staged is not None and any(
                copied.source.info.key.startswith(prefix) for copied in staged.copies
            )

    def resize(self, size: int) -> None:
        """Truncate, or extend with zeros."""
        if size != self.size or self._staged is None:
            with self._changing() as staged:
                staged.resize(size)

    def zero(self, start: int, end: int, keep_size: bool) -> None:
        """Make a range zeros; with `keep_size` nothing beyond the end."""
        with self.commit_lock:
            if keep_size:
                end = min(end, self.size)
            if start < end:
                with self._changing() as staged:
                    staged.zero(start, end)

    @contextmanager
    def _changing(self) -> Iterator[Staged]:
        """Around one change of the content; what fails leaves a clean file clean."""
        with self.commit_lock:
            fresh = self._staged is None
            now = time.time_ns()
            touched = replace(self.posix, mtime_ns=now, ctime_ns=now)
            staged = self._stage(touched)
            try:
                with self._state:
                    self._delivery.changing(staged, touched)
                    yield staged
                    self.posix = touched
            except BaseException:
                if fresh and not staged.dirty and staged.record.size == staged.initial_size:
                    self._unstage().discard()
                raise

    def set_posix(self, posix: Posix) -> None:
        """Change attributes of a dirty file: part of its next commit."""
        with self.commit_lock, self._state:
            self.posix = posix
            self._note(posix=posix)

    def _stage(self, posix: Posix | None = None) -> Staged:
        """Return the staged file, made at the first change; the caller holds `commit_lock`.

        `posix` are the attributes after that change: a next process must not find the old object's
        in the journal, or it takes that object for this one.
        """
        if self.failure is not None:
            raise self.failure
        if self._staged is None:
            record = self._record(posix or self.posix)
            staged = Staged(self.depot.staging / uuid4().hex, record, self.depot.space)
            with self._state:
                self._staged = staged
            if not self.unlinked:
                self.depot.dirty.add(self)
        return self._staged

    def _unstage(self) -> Staged:
        """Count as clean; return what was staged, for its end."""
        with self._state:
            staged, self._staged = self._staged, None
        self.depot.dirty.discard(self)
        assert staged is not None  # noqa: S101 - called for what is staged only
        return staged

    def _discard(self, staged: Staged) -> None:
        self._delivery.abandon(staged)
        self._unstage()
        staged.discard()

    def _record(self, posix: Posix) -> Record:
        return Record(
            self.key,
            self.info.etag if self.info is not None else IF_ABSENT,
            self.info,
            self.size,
            self.headers,
            posix,
            node=self.node,
            unlinked=self.unlinked,
        )

    def relieve(self) -> bool:
        """Free some of the space its changes take; return whether that helped."""
        staged = self._staged
        if staged is None or not staged.dirty:
            return False  # a commit would free nothing, and so be tried for ever
        return self.commit()

    # -- committing ------------------------------------------------------------------------------

    def commit(self, exclusive: bool = False) -> bool:
        """Bring everything to S3; return whether there was anything. Raises what went wrong.

        Stale: somebody else replaced the object; the bytes are kept in the conflicts directory.
        Anything else: they stay staged, are tried again in the background and at the next start.
        With `exclusive` the file has never been there: nothing of it is kept after an error.
        """
        with self.commit_lock:
            if self.failure is not None:
                raise self.failure
            staged = self._staged
            if staged is None or self.unlinked:
                return False
            try:
                done, self.posix = self._delivery.send(staged, self.key, self.posix)
            except Exception as error:
                told = self._failed(staged, error, exclusive)
                if told is error:
                    raise
                raise told from error
            try:
                self._settle(staged, done)
            except Exception as error:
                self.trouble.failed(error)  # it may still count as dirty: then it is tried again
                raise
        return True

    def _failed(self, staged: Staged, error: Exception, exclusive: bool) -> Exception:
        """Do what a failed commit asks for; return the error that the caller is told."""
        if exclusive:
            self._discard(staged)
            reason = error if isinstance(error, Stale) else error.__cause__
            rival = isinstance(reason, Stale) and not isinstance(reason, Contended)
            return Exists(f"{self.key} exists already") if rival else error
        self.depot.counters.add(Count.UPLOAD_FAILED)
        self.trouble.failed(error)
        if isinstance(error, Stale):
            return self._lost(staged, error)
        with suppress(OSError):
            staged.seal()  # it may stay for long
        if isinstance(error, OSError):
            return Unavailable(f"{self.key}: the staged file can't be used: {error}")
        return error

    def seal(self) -> None:
        """Have the changes on the disk, for another boot; not those of a file that is in use."""
        if self.commit_lock.acquire(timeout=SEAL_WAIT):
            try:
                if self._staged is not None:
                    self._staged.seal()
            finally:
                self.commit_lock.release()

    def _fill(self, offset: int, view: memoryview) -> None:
        self._read(offset, view, None)

    def _settle(self, staged: Staged, done: Committed) -> None:
        """Go over to what is in S3 now."""
        info = done.info
        # A hole would count as whole blocks of the cache: zeros that nobody wrote aren't kept.
        fully = staged.whole and info.size > 0
        with self._state:
            self._binding.rebind(info, done.content)
            self.headers = info.headers or Headers()
            self._delivery.done()
            self.version += 1
            self._staged = None
        self.depot.dirty.discard(self)
        self.trouble.over()
        # Killed before this, a next process finds the changes; killed after it, the version.
        self.on_commit(self)
        if fully and done.content is None:
            staged.become_cache(self.depot.cache, info)
        else:
            staged.discard()

    def _adopt(self, info: ObjectInfo) -> None:
        """A try of ours is in S3, changed since: what wasn't changed is the same there."""
        with self._state:
            self._binding.rebind(info)
            self.version += 1
            self._note(condition=info.etag, base=info)

    def _reconciled(self) -> bool:
        """Say whether what we are bound to was replaced by a try of ours, whose answer was lost."""
        staged = self._staged
        return staged is not None and not self.unlinked and self._delivery.reconcile(staged)

    def _lost(self, staged: Staged, error: Stale) -> FsError:
        self._delivery.abandon(staged)
        try:
            self.failure = conflicts.keep(staged, self.depot, error)
        except OSError as trouble:
            return Unavailable(f"{error}; our version can't be moved away: {trouble}")
        self.version += 1
        self._unstage()
        self.trouble.over()
        return Stale(str(self.failure))

    def learned(self, info: ObjectInfo, posix: Posix) -> None:
        """Take over the headers and attributes of the version it is bound to."""
        with self._state:
            self._binding.info = info
            self.headers = info.headers or Headers()
            self.posix = posix

    # -- moving and ending -----------------------------------------------------------------------

    @contextmanager
    def moving(self) -> Iterator[None]:
        """While our own copy changes the object's identity, readers wait instead of failing."""
        with self._binding.moving():
            yield

    def moved(self, info: ObjectInfo) -> None:
        """Our own copy gave the same bytes another key, ETag or headers."""
        with self._state:
            self._binding.moved(info)
            self.key = info.key
            self.headers = info.headers or self.headers
            self.version += 1
            self._note(key=info.key, condition=info.etag, base=info, headers=self.headers)

    def placed(self, node: int) -> None:
        """The kernel's number of the file is another one, in another session."""
        with self.commit_lock, self._state:
            self.node = node
            self._note(node=node)

    def rekey(self, key: str) -> None:
        """The file, not in S3 yet, has another key from now on."""
        with self.commit_lock, self._state:
            self.key = key
            self._note(key=key)

    def _note(self, **changes: Any) -> None:
        """Write into the staged file's log, if there is one, what is true from now on."""
        if self._staged is not None:
            self._staged.change(replace(self._staged.record, **changes))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around the deletion of its object, which waits for nothing: open handles go on.

        They have what was changed, and what the cache has of the rest; other reads are ESTALE. When
        the block fails, the body is what it was.
        """
        with self.commit_lock:
            clean = self._staged is None
            local = self._localise()
            self.unlinked = True
            try:
                yield
            except BaseException:
                self.unlinked = False
                if clean and local and self._staged is not None:
                    self._discard(self._staged)
                raise
            if self._staged is not None:
                self._delivery.abandon(self._staged)
            self._note(unlinked=True)
            self.depot.dirty.discard(self)

    def _localise(self) -> bool:
        """Make a small file that is cached a staged one, which no eviction and no death takes.

        No request is made. False where that can't be, or nobody needs it.
        """
        info = self.info
        if info is None or self.failure is not None:
            return False
        with self._binding.content():  # so what is cached stays that of whoever has it open
            if info.size > KEPT_MOST or not self.depot.cache.whole(info.key, info.etag):
                return False
        fresh = self._staged is None
        staged = self._stage()
        try:
            for low, high, written in list(staged.dirty.pieces(0, self.size)):
                if not written:
                    self._copy(staged, low, high)
        except (FsError, OSError) as error:
            log.debug("not kept for its readers", extra={"key": self.key, "error": str(error)})
            if fresh:
                self._unstage().discard()
            return False
        return True

    def _copy(self, staged: Staged, low: int, high: int) -> None:
        piece = memoryview(bytearray(high - low))
        self._read(low, piece, None)
        with self._state:
            staged.write(low, piece)

    def _fetch(self, staged: Staged, low: int, high: int) -> None:
        """Make a range of the object local."""
        deadline = time.monotonic() + self.depot.full_wait
        while low < high:
            end = min(high, low + FETCH)
            try:
                self._copy(staged, low, end)
            except NoSpace:
                if not self.depot.dirty.make_room(deadline, but=self):
                    raise
            else:
                low = end

    def close(self) -> None:
        """The last handle is gone; what is still dirty stays staged for the retries."""
        with self._state:
            staged = self._staged if self.unlinked else None
            if staged is not None:
                self._staged = None
        self._binding.close()
        if staged is not None:
            staged.discard()
