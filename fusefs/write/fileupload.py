"""Bringing one file's changes to S3: what went ahead, what was tried, and what a refusal means.

It decides how; whether, when, and what the file is afterwards, is `filecontent`'s. Called with its
`commit_lock` held; `state` is the lock that guards its staged file, never held over a request.
"""

import os
import threading
from dataclasses import replace
from typing import Protocol

from fusefs.attributes import Posix
from fusefs.errors import FsError, NotFound, Stale
from fusefs.objects import ObjectInfo
from fusefs.read.reader import Reader
from fusefs.write.incremental import IncrementalUpload
from fusefs.write.multipart import MultipartUpload
from fusefs.write.reconciler import Case, Creation, Reconciler
from fusefs.write.staged import Record, Staged
from fusefs.write.staging import Staging
from fusefs.write.uploader import Committed, FileBytes, Uploader
from fusefs.write.uploadplan import Changed

# Tries whose answer was lost that are remembered, to know them again in the bucket.
TRIED_MOST = 8


class SentFile(Protocol):
    """The file that is sent; `FileContent`. Not kept here: it has us, and would wait for gc."""

    def adopt(self, info: ObjectInfo) -> None:
        """Take an object of our own making for what lies below the changes."""

    def fetch(self, staged: Staged, start: int, end: int) -> None:
        """Make a range local."""


class FileUpload:
    """`data` are the file's bytes as they shall be."""

    def __init__(
        self,
        uploader: Uploader,
        reader: Reader,
        staging: Staging,
        state: threading.Lock,
        data: FileBytes,
    ) -> None:
        self._creation: Creation | None = None
        self._uploader = uploader
        self._state = state
        self._data = data
        self._reader = reader
        self._incremental = IncrementalUpload(uploader, staging.space.limit, state)
        self._tried: list[Record] = []
        self._sent_as: Posix | None = None

    def creating(self, flags: int) -> None:
        """The file isn't in S3 yet; `flags` are those of its open."""
        asked = os.O_TRUNC if flags & os.O_TRUNC else flags & os.O_APPEND
        self._creation = Creation(self._uploader.store.server_time(), asked or None)

    def wrote(self, staged: Staged, start: int, end: int, posix: Posix) -> None:
        """Send ahead what a write leaves complete behind it."""
        self._incremental.advance(staged, start, end, posix)

    def left_by_another(self, staged: Staged) -> None:
        """A former process may have sent just this, and not have lived to hear of it."""
        self._tried = [self._as_sent(each) for each in staged.journaled][-TRIED_MOST:]
        self._sent_as = staged.record.posix
        if staged.outgoing is not None:
            self._uploader.recall(staged.outgoing)

    def changing(self, staged: Staged, posix: Posix) -> None:
        """Journal, before the first change after a try, that the file isn't what was sent.

        Else the next process would take the try, if it arrived, for the file as it is.
        """
        if self._tried and staged.record.posix == self._sent_as:
            staged.change(replace(staged.record, posix=posix))

    def arrived(self, staged: Staged) -> ObjectInfo | None:
        """Return what an earlier try made, if it arrived: it replaced what wasn't changed."""
        if not self._tried:
            return None
        return self._reconciler().earlier(self._as_sent(staged.record), self._tried)

    def abandon(self, staged: Staged) -> None:
        """Throw away what went ahead: nobody wants these bytes in S3 any more."""
        self._incremental.abandon(staged)

    def done(self) -> None:
        """What was sent is settled; the next change begins anew."""
        self._creation = None
        self._tried = []

    def send(
        self, staged: Staged, key: str, posix: Posix, file: SentFile
    ) -> tuple[Committed, Posix]:
        """Bring a staged file to S3; return what is there, and the attributes it has.

        Raises Stale when somebody else was first, other errors when it is to be tried again.
        """
        outgoing = self._sent_ahead(staged, key)
        if outgoing is not None and staged.record.posix == outgoing.posix is not None:
            # Nobody but our own writing touched the attributes since: the times are the upload's.
            posix = outgoing.posix or posix
        with self._state:
            # Journaled before it is sent: whoever finds it in the bucket knows it for ours.
            staged.change(staged.record.going(key, posix))
        self._sent_as = posix
        done = self._deliver(staged, outgoing, file)
        if self._tried:
            self.expect_late()
        return done, posix

    def expect_late(self) -> bool:
        """Have what tries without an answer make late known for ours; say whether there are any."""
        for record in self._tried:
            metadata = self._uploader.attributes_of(record).metadata
            self._uploader.store.late.expect(record.key, record.size, metadata)
        return bool(self._tried)

    def _deliver(
        self, staged: Staged, outgoing: MultipartUpload | None, file: SentFile
    ) -> Committed:
        record = self._as_sent(staged.record)
        if self._tried:
            done = self._reconciler().arrived(self._case(staged, record))
            if isinstance(done, Committed):
                return done
            if done is not None:
                file.adopt(done)
                record = self._as_sent(staged.record)
        try:
            return self._transmit(record, staged.changed(record.base), self._data, outgoing)
        except (Stale, NotFound):
            self.abandon(staged)
            self._fetch_replaced(staged, file)
            return self._reconciler().judge(self._case(staged, record))

    def _reconciler(self) -> Reconciler:
        """Return who decides; few commits have anything to be decided."""
        return Reconciler(self._uploader, self._reader)

    def _as_sent(self, record: Record) -> Record:
        return record if self._uploader.stores_attributes else replace(record, posix=None)

    def _case(self, staged: Staged, record: Record) -> Case:
        return Case(record, staged, self._data, self._transmit, tuple(self._tried), self._creation)

    def _sent_ahead(self, staged: Staged, key: str) -> MultipartUpload | None:
        """Return the upload that has parts of this file already, if it can be completed."""
        self._incremental.stop()
        outgoing = staged.outgoing
        if outgoing is None:
            return None
        size = staged.record.size
        small = size <= self._uploader.settings.threshold
        if small or outgoing.key != key or not outgoing.reaches(size):
            self.abandon(staged)
            return None
        return outgoing

    def _transmit(
        self,
        record: Record,
        changed: Changed,
        data: FileBytes,
        outgoing: MultipartUpload | None = None,
    ) -> Committed:
        try:
            return self._uploader.send(record, changed, data, outgoing)
        except FsError:
            tried = [*self._tried, record]
            if outgoing is not None and record.posix is not None:
                tried.append(replace(record, posix=outgoing.posix))
            self._tried = tried[-TRIED_MOST:]
            raise

    def _fetch_replaced(self, staged: Staged, file: SentFile) -> None:
        """Fetch what was to be copied from a replaced source, where it is cached; else Stale."""
        for copied in list(staged.copies):
            info = copied.source.info
            try:
                now = self._uploader.store.head(info.key).etag
            except NotFound:
                now = ""
            if now != info.etag:
                file.fetch(staged, copied.start, copied.end)
