"""One file's content as this mount sees it: the object in S3 and what was changed on top of it.

All handles of a file in the mount share one content, so many readers and writers see the same. A
content is bound to one version (ETag) of its object: when others replace it, a later open gets a
new content and this one answers ESTALE.

Locks: `commit_lock` serialises changes and commits and may be held over S3 calls (it is "the
handle's own"); `PendingChanges.state` guards the fields, is taken inside it, and never over a
request. Readers take that one only, so they go on while an upload runs; only a read that finds its
version gone waits for `commit_lock`, to learn whether the change was ours. Who holds one waits for
another's only for moments (`DirtySet.make_room`), but for a directory's rename, which takes all
below it in one order.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count

from fusefs import locks
from fusefs.attributes import Posix
from fusefs.counters import Count
from fusefs.errors import Contended, Exists, FsError, NotFound, Stale, Unavailable
from fusefs.locks import Rank
from fusefs.objects import Headers, ObjectInfo
from fusefs.read.readahead import ReadAhead
from fusefs.read.reader import Reader
from fusefs.read.version import ObjectVersion
from fusefs.s3.conditions import IF_ABSENT
from fusefs.write.binding import Binding
from fusefs.write.fileupload import FileUpload
from fusefs.write.localcopy import LocalCopy
from fusefs.write.overlay import Overlay
from fusefs.write.pending import PendingChanges
from fusefs.write.retrystate import RetryState
from fusefs.write.serversidecopy import CopiedRange
from fusefs.write.staged import Record, Staged
from fusefs.write.staging import Staging
from fusefs.write.uploader import Committed, FileBytes, Uploader

NO_HEADERS = Headers()
_numbers = count(1)


class FileContent:
    """The content of one file; created by the filesystem, shared by its handles."""

    def __init__(
        self,
        staging: Staging,
        reader: Reader,
        uploader: Uploader,
        key: str,
        info: ObjectInfo | None,
        posix: Posix,
        node: int = 0,
    ) -> None:
        self.node = node
        self.key = key
        self.posix = posix
        self.headers = (info.headers if info is not None else None) or NO_HEADERS
        self.commit_lock = locks.rlock(Rank.COMMIT)
        self.unlinked = False
        self.failure: FsError | None = None
        self.retry = RetryState()
        # The version the session journal knows of; it goes over to the next at a commit.
        self.logged_etag = info.etag if info is not None else None
        self.current_at = 0.0  # when S3 was asked whether it is the current version (monotonic)
        self.version = 0  # goes up with each change of what S3 holds
        self.number = next(_numbers)  # distinguishes contents (`interface.Opened.content`)
        self.replaced = False  # others have put another version in its place
        self.apart = False  # opened while handles of another version of the file were open
        self.on_commit: Callable[[FileContent], None] = lambda _: None
        self._staging = staging
        self._pending = PendingChanges(staging)
        self._state = self._pending.state
        self._binding = Binding(reader, info, uploader.url(key))
        self._overlay = Overlay(self._pending, self._binding, reader)
        self._local = LocalCopy(staging, self._pending, self._binding, self._overlay)
        data = FileBytes(self._overlay.fill, self._overlay.file)
        self._upload = FileUpload(uploader, reader, staging, self._state, data)

    @classmethod
    def restored(
        cls, staging: Staging, reader: Reader, uploader: Uploader, staged: Staged
    ) -> "FileContent":
        """Make the content of a staged file that a former process left."""
        record = staged.record
        assert record.posix is not None  # noqa: S101 - contents always write it
        self = cls(staging, reader, uploader, record.key, record.base, record.posix, record.node)
        self.headers = record.headers
        self.unlinked = record.unlinked
        self._pending.staged = staged
        self._upload.left_by_another(staged)
        if not self.unlinked:
            staging.dirty.add(self)
        return self

    @property
    def info(self) -> ObjectInfo | None:
        """The object in S3 it is bound to; None while it isn't there."""
        return self._binding.info

    @property
    def size(self) -> int:
        """Bytes of the file as this mount sees it."""
        return self._overlay.size

    @property
    def dirty(self) -> bool:
        """Whether S3 lacks something of it."""
        return self._pending.staged is not None

    @property
    def unsent(self) -> int:
        """Bytes that were changed and aren't in S3."""
        return self._pending.unsent

    @property
    def etag(self) -> str | None:
        """The version it is bound to; None while it isn't in S3."""
        return info.etag if (info := self._binding.info) is not None else None

    def may_be_stored(self) -> bool:
        """Say whether S3 has an object of it, perhaps by a commit without an answer."""
        return self._upload.expect_late() or self.etag is not None

    def attach(self, content: ObjectVersion) -> None:
        """Use `content`, already opened for this version."""
        self._binding.attach(content)

    def stream(self) -> ReadAhead | None:
        """Return a read-ahead state for a new handle."""
        return self._binding.stream()

    def whole_fd(self) -> int:
        """Return a descriptor with exactly this content for passthrough, or -1."""
        return self._overlay.whole_fd()

    def read_into(self, offset: int, view: memoryview, stream: ReadAhead | None) -> int:
        """Fill `view` from `offset`; fewer bytes only at the end of the file."""
        while True:
            version = self.version
            try:
                return self._overlay.read(offset, view, stream)
            except (Stale, NotFound) as error:
                with self.commit_lock:  # a commit or rename of ours may be about to give the reason
                    if self.version == version and not self._reconciled():
                        if self.failure is not None:
                            raise self.failure from None
                        if self.unlinked:
                            raise Stale(f"{self.key} was removed, and isn't cached") from error
                        raise Stale(str(error)) from error  # deleted is replaced too

    @property
    def clean(self) -> Binding | None:
        """The version in S3, None where anything is changed."""
        return self._binding if self._pending.staged is None else None

    def create(self, flags: int) -> None:
        """Begin a new, empty file that isn't in S3 yet; `flags` are those of its open."""
        with self.commit_lock:
            self._upload.creating(flags)
            self._stage()

    def write(self, offset: int, data: bytes | memoryview, append: bool = False) -> None:
        """Write all of `data`; raises NoSpace when neither eviction nor uploading makes room."""
        self._staging.with_room(partial(self._write, offset, data, append))

    def _write(self, offset: int, data: bytes | memoryview, append: bool) -> None:
        with self.commit_lock:
            at = self.size if append else offset
            staged = self._change(partial(Staged.write, offset=at, data=data))
            self._upload.wrote(staged, at, at + len(data), self.posix)

    def copy_in(self, copied: CopiedRange) -> None:
        """Take bytes of another object without moving them; its end may be the file's new end."""
        self._change(lambda staged: staged.copy_in(copied))

    def copies_from(self, prefix: str) -> bool:
        """Say whether ranges are still to be copied from an object at or below `prefix`."""
        return self._pending.copies_from(prefix)

    def resize(self, size: int) -> None:
        """Truncate, or extend with zeros."""
        if size != self.size or self._pending.staged is None:
            self._change(lambda staged: staged.resize(size))

    def zero(self, start: int, end: int, keep_size: bool) -> None:
        """Make a range zeros; with `keep_size` nothing beyond the end."""
        with self.commit_lock:
            end = min(end, self.size) if keep_size else end
            if start < end:
                self._change(lambda staged: staged.zero(start, end))

    def _change(self, step: Callable[[Staged], None]) -> Staged:
        """Carry out one change of the content; what fails leaves a clean file clean."""
        with self.commit_lock:
            touched = self.posix.touched(time.time_ns())

            def changing(staged: Staged) -> None:
                self._upload.changing(staged, touched)
                step(staged)
                self.posix = touched

            return self._pending.change(partial(self._stage, touched), self, changing)

    def set_posix(self, posix: Posix) -> None:
        """Change attributes of a dirty file: part of its next commit."""
        with self.commit_lock, self._state:
            self.posix = posix
            self._pending.note(posix=posix)

    def _stage(self, posix: Posix | None = None) -> Staged:
        """Return the staged file, made at the first change; the caller holds `commit_lock`.

        `posix` are the attributes after that change: a next process must not find the old object's
        in the journal, or it takes that object for this one.
        """
        if self.failure is not None:
            raise self.failure
        return self._pending.staged or self._pending.begin(self._record(posix or self.posix), self)

    def _discard(self, staged: Staged) -> None:
        self._upload.abandon(staged)
        self._pending.end(self).discard()

    def _record(self, posix: Posix) -> Record:
        info, size = self._binding.info, self._overlay.size
        base = info.etag if info is not None else IF_ABSENT
        return Record(self.key, base, info, size, self.headers, posix, self.node, self.unlinked)

    def relieve(self) -> bool:
        """Free some of the space its changes take; return whether that helped."""
        staged = self._pending.staged
        # A commit of nothing would free nothing, and so be tried for ever.
        return staged is not None and bool(staged.dirty) and self.commit()

    def commit(self, exclusive: bool = False) -> bool:
        """Bring everything to S3; return whether there was anything. Raises what went wrong.

        Stale: somebody else replaced the object; the bytes are kept in the conflicts directory.
        Anything else: they stay staged, are tried again in the background and at the next start.
        With `exclusive` the file has never been there: nothing of it is kept after an error.
        """
        with self.commit_lock:
            if self.failure is not None:
                raise self.failure
            staged = self._pending.staged
            if staged is None or self.unlinked:
                return False
            try:
                done, self.posix = self._upload.send(staged, self.key, self.posix, self)
            except Exception as error:
                reported = self._failed(staged, error, exclusive)
                if reported is error:
                    raise
                raise reported from error
            try:
                self._settle(staged, done)
            except Exception as error:
                self.retry.failed(error)  # it may still count as dirty: then it is tried again
                raise
        return True

    def _failed(self, staged: Staged, error: Exception, exclusive: bool) -> Exception:
        """Do what a failed commit asks for; return the error for the caller."""
        if exclusive:
            self._discard(staged)
            reason = error if isinstance(error, Stale) else error.__cause__
            rival = isinstance(reason, Stale) and not isinstance(reason, Contended)
            return Exists(f"{self.key} exists already") if rival else error
        self._staging.counters.add(Count.UPLOAD_FAILED)
        self.retry.failed(error)
        if isinstance(error, Stale):
            return self._lost(staged, error)
        with suppress(OSError):
            staged.seal()  # it may stay for long
        if isinstance(error, OSError):
            return Unavailable(f"{self.key}: the staged file can't be used: {error}")
        return error

    def seal(self) -> None:
        """Have the changes on the disk, for another boot; not those of a file that is in use."""
        self._pending.seal(self.commit_lock)

    def _settle(self, staged: Staged, done: Committed) -> None:
        """Go over to what is in S3 now."""
        info = done.info
        # A hole would count as whole blocks of the cache: zeros that nobody wrote aren't kept.
        fully = staged.whole and info.size > 0
        with self._state:
            self._binding.rebind(info, done.content)
            self.headers = info.headers or NO_HEADERS
            self._upload.done()
            self.version += 1
            self._pending.staged = None
        self._staging.dirty.discard(self)
        self.retry.over()
        self.on_commit(self)  # killed before it, a next process finds the changes
        if fully and done.content is None:
            self._staging.to_cache(staged, info)
        else:
            staged.discard()

    def adopt(self, info: ObjectInfo) -> None:
        """A try of ours is in S3, changed since: what wasn't changed is the same there."""
        with self._state:
            self._binding.rebind(info)
            self.version += 1
            self._pending.note(condition=info.etag, base=info)

    def fetch(self, staged: Staged, start: int, end: int) -> None:
        """Make a range local."""
        self._local.fetch(staged, start, end, self)

    def _reconciled(self) -> bool:
        """Say whether what we are bound to was replaced by a try of ours, whose answer was lost."""
        staged = None if self.unlinked else self._pending.staged
        found = self._upload.arrived(staged) if staged is not None else None
        if found is not None:
            self.adopt(found)
        return found is not None

    def _lost(self, staged: Staged, error: Stale) -> FsError:
        self._upload.abandon(staged)
        try:
            self.failure = self._staging.keep_conflict(staged, error)
        except OSError as trouble:
            return Unavailable(f"{error}; our version can't be moved away: {trouble}")
        self.version += 1
        self._pending.end(self)
        self.retry.over()
        return Stale(str(self.failure))

    def learned(self, info: ObjectInfo, posix: Posix) -> None:
        """Take over the headers and attributes of the version it is bound to."""
        with self._state:
            self._binding.info = info
            self.headers = info.headers or NO_HEADERS
            self.posix = posix

    def moving(self) -> AbstractContextManager[None]:
        """While our own copy changes the object's identity, readers wait instead of failing."""
        return self._binding.moving()

    def moved(self, info: ObjectInfo) -> None:
        """Our own copy gave the same bytes another key, ETag or headers."""
        with self._state:
            self._binding.moved(info)
            self.key = info.key
            self.headers = info.headers or self.headers
            self.version += 1
            self._pending.note(key=info.key, condition=info.etag, base=info, headers=self.headers)

    def placed(self, node: int) -> None:
        """The kernel's number of the file is another one, in another session."""
        with self.commit_lock, self._state:
            self.node = node
            self._pending.note(node=node)

    def rekey(self, key: str) -> None:
        """The file, not in S3 yet, has another key from now on."""
        with self.commit_lock, self._state:
            self.key = key
            self._pending.note(key=key)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around the deletion of its object, which waits for nothing: open handles go on.

        They have what was changed, and what the cache has of the rest; other reads are ESTALE. When
        the block fails, the content is what it was.
        """
        with self.commit_lock:
            clean = self._pending.staged is None
            local = self.failure is None and self._local.keep(self._stage, self)
            self.unlinked = True
            try:
                yield
            except BaseException:
                self.unlinked = False
                if clean and local and self._pending.staged is not None:
                    self._discard(self._pending.staged)
                raise
            if self._pending.staged is not None:
                self._upload.abandon(self._pending.staged)
            self._pending.note(unlinked=True)
            self._staging.dirty.discard(self)

    def close(self) -> None:
        """The last handle is gone; what is still dirty stays staged for the retries."""
        with self._state:
            staged = self._pending.staged if self.unlinked else None
            if staged is not None:
                self._pending.staged = None
        self._binding.close()
        if staged is not None:
            staged.discard()
