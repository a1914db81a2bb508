"""One file's content as this mount sees it: the object in S3 and what was changed on top of it.

All handles of a file in the mount share one body, so many readers and writers see one content.
A body is bound to one version (ETag) of its object: when others replace it, a later open gets a
new body and this one answers ESTALE.

Locks: `commit_lock` serialises changes and commits and may be held over S3 calls (it is "the
handle's own"); `_state` guards the fields, is taken inside it, and never over a request. Readers
take `_state` only, so they go on while an upload runs.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from uuid import uuid4

from .attributes import Posix
from .cache import Cache
from .commit import Committed, Committer
from .content import Content
from .counters import Count, Counters
from .errors import Exists, FsError, NoSpace, NotFound, Stale
from .objects import Headers, ObjectInfo
from .ranges import RangeSet
from .reader import Reader
from .space import Space
from .staged import Record, Staged
from .store import ABSENT, Store
from .streams import Stream

log = logging.getLogger(__name__)

RETRY_FIRST = 1.0  # seconds until a failed upload is tried again, doubled up to
RETRY_MOST = 60.0


@dataclass(frozen=True)
class Depot:
    """What bodies work with; one per mount."""

    store: Store
    reader: Reader
    cache: Cache
    space: Space
    committer: Committer
    pool: Executor
    staging: Path
    conflicts: Path
    stores_attributes: bool
    on_conflict: Literal["fail", "overwrite"] = "fail"
    full_wait: float = 10.0  # seconds a writer waits for room before ENOSPC
    dirty: "DirtySet" = field(default_factory=lambda: DirtySet())
    counters: Counters = field(default_factory=Counters)


class DirtySet:
    """The bodies with changes that aren't in S3; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[int, Body] = {}

    def add(self, body: "Body") -> None:
        """Count a body as dirty."""
        with self._lock:
            self._bodies[id(body)] = body

    def discard(self, body: "Body") -> None:
        """Count a body as clean."""
        with self._lock:
            self._bodies.pop(id(body), None)

    def all(self) -> list["Body"]:
        """Return the dirty bodies, oldest first."""
        with self._lock:
            return list(self._bodies.values())


@dataclass(frozen=True, slots=True)
class _Creation:
    """When, by the store's clock, and with O_TRUNC, O_APPEND or neither we created a file."""

    at: float
    flag: int | None


class Body:
    """The content of one file; created by the filesystem, shared by its handles."""

    def __init__(
        self, depot: Depot, key: str, info: ObjectInfo | None, posix: Posix, node: int = 0
    ) -> None:
        self.depot = depot
        self.node = node
        self.key = key
        self.info = info
        self.posix = posix
        self.headers = (info.headers if info is not None else None) or Headers()
        self.commit_lock = threading.RLock()
        self.unlinked = False
        self.failure: FsError | None = None
        self.trouble = ""  # what the last try to upload failed of
        self.retry_at = float("inf")
        # The version the session journal knows of; it goes over to the next at a commit.
        self.logged_etag = info.etag if info is not None else None
        self.version = 0  # goes up with each change of what S3 holds
        self.on_commit: Callable[[Body], None] = lambda _: None
        self._retry_pause = RETRY_FIRST
        self._state = threading.Lock()
        self._staged: Staged | None = None
        self._content: Content | None = None
        self._creation: _Creation | None = None

    @classmethod
    def restored(cls, depot: Depot, staged: Staged) -> "Body":
        """Make a body of a staged file that a former process left."""
        record = staged.record
        assert record.posix is not None  # noqa: S101 - bodies always write it
        self = cls(depot, record.key, record.base, record.posix, record.node)
        self.headers = record.headers
        self.unlinked = record.unlinked
        self._staged = staged
        if not self.unlinked:
            depot.dirty.add(self)
        return self

    # -- what it is ------------------------------------------------------------------------------

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

    def extents(self, start: int) -> list[tuple[int, int, bool]]:
        """Return the file's pieces from `start` on; the flag says data (True) or hole."""
        return [(start, self.size, True)] if start < self.size else []

    # -- reading ---------------------------------------------------------------------------------

    def attach(self, content: Content) -> None:
        """Use `content`, already opened for this body's version."""
        with self._state:
            if self._content is None:
                self._content = content
                return
        content.close()

    def stream(self) -> Stream | None:
        """Return a read-ahead state for a new handle."""
        if self.info is None:
            return None
        return self._open_content().stream()

    def _open_content(self) -> Content:
        with self._state:
            if self._content is not None:
                return self._content
            info = self.info
        if info is None:
            raise NotFound(f"s3://{self.depot.store.bucket}/{self.key} is not in S3 yet")
        content = self.depot.reader.open(info.key, info.etag, info.size)
        self.attach(content)
        with self._state:
            return self._content or content

    def whole_fd(self) -> int:
        """Return a descriptor with exactly this content for passthrough, or -1."""
        if self._staged is not None or self.info is None or not self.info.size:
            return -1
        return self._open_content().whole_fd()

    def read_into(self, offset: int, view: memoryview, stream: Stream | None) -> int:
        """Fill `view` from `offset`; fewer bytes only at the end of the file."""
        while True:
            version = self.version
            try:
                return self._read(offset, view, stream)
            except (Stale, NotFound):
                # Our own commit or rename replaced what we were reading: look again.
                if self.version == version:
                    if self.failure is not None:
                        raise self.failure from None
                    raise

    def _read(self, offset: int, view: memoryview, stream: Stream | None) -> int:
        with self._state:
            staged = self._staged
            size = self.size
            count = max(0, min(len(view), size - offset))
            gaps: list[tuple[int, int]] = []
            if staged is not None:
                for low, high, written in staged.dirty.pieces(offset, offset + count):
                    if written:
                        staged.read(low, view[low - offset : high - offset])
                    else:
                        gaps.append((low, high))
            elif count:
                gaps.append((offset, offset + count))
        for low, high in gaps:
            self._read_base(low, view[low - offset : high - offset], stream)
        return count

    def _read_base(self, offset: int, view: memoryview, stream: Stream | None) -> None:
        content = self._open_content()
        stream = stream or content.stream()
        done = 0
        while done < len(view):
            got = content.read_into(offset + done, view[done:], stream)
            if not got:
                raise Stale(f"s3://{self.depot.store.bucket}/{self.key} is shorter than it was")
            done += got

    # -- changing --------------------------------------------------------------------------------

    def create(self, flags: int) -> None:
        """Begin a new, empty file that isn't in S3 yet; `flags` are those of its open."""
        with self.commit_lock:
            flag = next((flag for flag in (os.O_TRUNC, os.O_APPEND) if flags & flag), None)
            self._creation = _Creation(self.depot.store.server_time(), flag)
            self._stage()

    def write(self, offset: int, data: bytes | memoryview, append: bool = False) -> None:
        """Write all of `data`; raises NoSpace when neither eviction nor uploading makes room."""
        deadline = time.monotonic() + self.depot.full_wait
        while True:
            try:
                with self.commit_lock:
                    staged = self._stage()
                    with self._state:
                        staged.write(self.size if append else offset, data)
                        self.posix = self._touched()
            except NoSpace:
                if not self._made_room(deadline):
                    raise
            else:
                return

    def _made_room(self, deadline: float) -> bool:
        """Upload what is dirty, the oldest first, so that it can be evicted; False: no hope."""
        for body in self.depot.dirty.all():
            try:
                if body.commit_lock.acquire(timeout=0.5):
                    try:
                        if body.commit():
                            return True
                    finally:
                        body.commit_lock.release()
            except FsError as error:
                log.debug("could not make room", extra={"key": body.key, "error": str(error)})
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
        return True

    def resize(self, size: int) -> None:
        """Truncate, or extend with zeros."""
        with self.commit_lock:
            if size == self.size and self._staged is not None:
                return
            staged = self._stage()
            with self._state:
                staged.resize(size)
                self.posix = self._touched()

    def zero(self, start: int, end: int, keep_size: bool) -> None:
        """Make a range zeros; with `keep_size` nothing beyond the end."""
        with self.commit_lock:
            if keep_size:
                end = min(end, self.size)
            if start >= end:
                return
            staged = self._stage()
            with self._state:
                staged.zero(start, end)
                self.posix = self._touched()

    def _touched(self) -> Posix:
        now = time.time_ns()
        return replace(self.posix, mtime_ns=now, ctime_ns=now)

    def set_posix(self, posix: Posix) -> None:
        """Change attributes of a dirty file: part of its next commit."""
        with self.commit_lock, self._state:
            self.posix = posix
            if self._staged is not None:
                self._staged.change(replace(self._staged.record, posix=posix))

    def _stage(self) -> Staged:
        """Return the staged file, made at the first change; the caller holds `commit_lock`."""
        if self.failure is not None:
            raise self.failure
        if self._staged is None:
            stem = self.depot.staging / uuid4().hex
            staged = Staged(stem, self._record(), self.depot.space)
            with self._state:
                self._staged = staged
            self.depot.dirty.add(self)
        return self._staged

    def _record(self) -> Record:
        return Record(
            self.key,
            self.info.etag if self.info is not None else ABSENT,
            self.info,
            self.size,
            self.headers,
            self.posix,
            node=self.node,
        )

    # -- committing ------------------------------------------------------------------------------

    def commit(self, exclusive: bool = False) -> bool:
        """Bring everything to S3; return whether there was anything. Raises what went wrong.

        Stale: somebody else replaced the object; the bytes are kept in the conflicts directory.
        Anything else: they stay staged, are tried again in the background and at the next start.
        """
        with self.commit_lock:
            if self.failure is not None:
                raise self.failure
            staged = self._staged
            if staged is None:
                return False
            if self.unlinked:
                return False
            try:
                done = self._send(staged)
            except Stale as error:
                if exclusive:
                    self._staged = None
                    staged.discard()
                    self.depot.dirty.discard(self)
                    raise Exists(f"{self.key} exists already") from error
                raise self._lost(staged, error) from error
            except FsError as error:
                self.depot.counters.add(Count.UPLOAD_FAILED)
                self.trouble = str(error)
                self.retry_at = time.monotonic() + self._retry_pause
                self._retry_pause = min(self._retry_pause * 2, RETRY_MOST)
                raise
            self._settle(staged, done)
        self.on_commit(self)
        return True

    def _send(self, staged: Staged) -> Committed:
        record = replace(staged.record, key=self.key, posix=self.posix)
        if not self.depot.stores_attributes:
            record = replace(record, posix=None)
        try:
            return self.depot.committer.send(record, staged.dirty, self._fill)
        except Stale:
            return self._after_refusal(record, staged)

    def _after_refusal(self, record: Record, staged: Staged) -> Committed:
        """Find out whether a refused commit was refused because of ourselves, or rightly."""
        try:
            found = self.depot.store.head(self.key)
        except NotFound:
            if self.depot.on_conflict == "overwrite":
                record = replace(record, condition=ABSENT)
                return self.depot.committer.send(record, staged.dirty, self._fill)
            raise Stale(
                f"s3://{self.depot.store.bucket}/{self.key} was deleted by somebody else"
            ) from None
        if self._ours(found, record):
            # An earlier try arrived, only its answer was lost.
            return Committed(found)
        if record.condition == ABSENT and self._was_there(found):
            return self._discovered(found, record, staged)
        if self.depot.on_conflict == "overwrite" and staged.dirty.covers(0, record.size):
            record = replace(record, condition=found.etag)
            return self.depot.committer.send(record, staged.dirty, self._fill)
        raise Stale(
            f"s3://{self.depot.store.bucket}/{self.key} was replaced by somebody else "
            f"(ETag {found.etag}) since it was opened"
        )

    def _ours(self, found: ObjectInfo, record: Record) -> bool:
        if found.size != record.size or found.headers is None or record.posix is None:
            return False
        ours = self.depot.committer.headers_for(record).metadata
        # Times in ns make two writers' metadata differ.
        return dict(found.headers.metadata) == dict(ours)

    def _was_there(self, found: ObjectInfo) -> bool:
        """Say whether a file we created was there before, unknown to our listing.

        LastModified has whole seconds, so the second of our open itself counts as a conflict.
        """
        mode = self._creation
        return mode is not None and mode.flag is not None and found.modified < int(mode.at)

    def _discovered(self, found: ObjectInfo, record: Record, staged: Staged) -> Committed:
        """Do to an object what the open would have done had our listing known of it.

        Its writer had closed it before we opened, so close-to-open wants O_TRUNC to replace it and
        O_APPEND to go on at its end.
        """
        assert self._creation is not None  # noqa: S101 - see `_was_there`
        if self._creation.flag == os.O_TRUNC:
            record = replace(record, condition=found.etag)
            return self.depot.committer.send(record, staged.dirty, self._fill)
        headers = found.headers or Headers()
        record = replace(
            record,
            condition=found.etag,
            base=found,
            size=found.size + record.size,
            headers=headers,
        )
        dirty = RangeSet()
        dirty.add(found.size, record.size)
        content = self.depot.reader.open(found.key, found.etag, found.size)
        try:
            stream = content.stream()

            def fill(offset: int, view: memoryview) -> None:
                old = max(0, min(len(view), found.size - offset))
                done = 0
                while done < old:
                    done += content.read_into(offset + done, view[done:old], stream)
                self._fill(max(0, offset - found.size), view[old:])

            return self.depot.committer.send(record, dirty, fill)
        finally:
            content.close()

    def _fill(self, offset: int, view: memoryview) -> None:
        self._read(offset, view, None)

    def _settle(self, staged: Staged, done: Committed) -> None:
        """Go over to what is in S3 now."""
        info = done.info
        old = self._content
        fully = staged.dirty.covers(0, info.size) and info.size > 0
        content = None
        if done.content:
            content = self.depot.reader.open(info.key, info.etag, info.size, done.content)
        with self._state:
            self.info = info
            self.headers = info.headers or Headers()
            self._staged = None
            self._content = content
            self._creation = None
            self.version += 1
        if fully and done.content is None:
            staged.become_cache(self.depot.cache, info)
        else:
            staged.discard()
        self.depot.dirty.discard(self)
        self.trouble = ""
        self.retry_at = float("inf")
        self._retry_pause = RETRY_FIRST
        if old is not None:
            old.close()

    def _lost(self, staged: Staged, error: Stale) -> Stale:
        kept = staged.keep_as_conflict(self.depot.conflicts)
        self.depot.counters.add(Count.CONFLICT)
        log.error(
            "conflict: another writer was first; our version is kept on the cache volume",
            extra={"key": self.key, "kept": str(kept), "error": str(error)},
        )
        with self._state:
            self._staged = None
            self.failure = Stale(f"{error}; our version is kept in {kept}")
            self.version += 1
        self.depot.dirty.discard(self)
        return Stale(str(self.failure))

    def learned(self, info: ObjectInfo, posix: Posix) -> None:
        """Take over the headers and attributes of the version it is bound to."""
        with self._state:
            self.info = info
            self.headers = info.headers or Headers()
            self.posix = posix

    # -- moving and ending -----------------------------------------------------------------------

    @contextmanager
    def moving(self) -> Iterator[None]:
        """While our own copy changes the object's identity, readers wait instead of failing."""
        with self._state:
            content = self._content
        if content is None:
            yield
            return
        with content.moving():
            yield

    def moved(self, info: ObjectInfo) -> None:
        """Our own copy gave the same bytes another key, ETag or headers."""
        with self._state:
            content = self._content
            self.info = info
            self.key = info.key
            self.headers = info.headers or self.headers
            self.version += 1
            if self._staged is not None:
                record = self._staged.record
                self._staged.change(replace(record, key=info.key, condition=info.etag, base=info))
        if content is not None:
            content.renamed(info.key, info.etag)

    def rekey(self, key: str) -> None:
        """The file, not in S3 yet, has another key from now on."""
        with self.commit_lock, self._state:
            self.key = key
            if self._staged is not None:
                self._staged.change(replace(self._staged.record, key=key))

    def keep_locally(self) -> None:
        """Before its object is deleted: make all its bytes local, so that open handles go on."""
        with self.commit_lock:
            if self.info is not None:
                staged = self._stage()
                for low, high, written in list(staged.dirty.pieces(0, self.size)):
                    if not written:
                        self._fetch(staged, low, high)
            self.unlinked = True
            if self._staged is not None:
                self._staged.change(replace(self._staged.record, unlinked=True))
            self.depot.dirty.discard(self)

    def _fetch(self, staged: Staged, low: int, high: int) -> None:
        buffer = memoryview(bytearray(min(high - low, 8 << 20)))
        stream = self._open_content().stream()
        while low < high:
            piece = buffer[: min(len(buffer), high - low)]
            self._read_base(low, piece, stream)
            with self._state:
                staged.write(low, piece)
            low += len(piece)

    def close(self) -> None:
        """The last handle is gone; what is still dirty stays staged for the retries."""
        with self._state:
            content, self._content = self._content, None
            staged = self._staged if self.unlinked else None
            if staged is not None:
                self._staged = None
        if content is not None:
            content.close()
        if staged is not None:
            staged.discard()
