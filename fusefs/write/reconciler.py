"""What a refused commit means: our own earlier try, a file our listing didn't know, or a conflict.

A store refuses a commit when the object isn't the one the change was made on. Often that is our own
doing: the answer to an earlier try was lost, of this process or of a former one. It is recognised
by the attributes, whose times in nanoseconds no two writers share, or, where none are stored, by
the bytes we changed.

Any thread that holds the body's `commit_lock`, so what is staged doesn't change meanwhile.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fusefs.errors import Contended, NotFound, Stale, Unavailable
from fusefs.objects import Headers, ObjectInfo
from fusefs.read.reader import Reader
from fusefs.read.version import ObjectVersion
from fusefs.write.ranges import RangeSet
from fusefs.write.staged import Record, Staged
from fusefs.write.uploader import Committed, FileBytes, Uploader
from fusefs.write.uploadplan import Changed

COMPARE = 1 << 20  # bytes compared at once

Send = Callable[[Record, Changed, FileBytes], Committed]


@dataclass(frozen=True, slots=True)
class Creation:
    """When, by the store's clock, and with O_TRUNC, O_APPEND or neither we created a file."""

    at: float
    flag: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """A commit that was refused, and how to go on: `tried` are the records sent so far."""

    record: Record
    staged: Staged
    data: FileBytes
    send: Send
    tried: Sequence[Record] = ()
    creation: Creation | None = None

    def again(self, record: Record) -> Committed:
        """Send the same bytes under another condition."""
        return self.send(record, self.staged.changed(record.base), self.data)


class Reconciler:
    """Decides for the files of one store."""

    def __init__(self, uploader: Uploader, reader: Reader) -> None:
        self._uploader = uploader
        self._store = uploader.store
        self._reader = reader

    def arrived(self, case: Case) -> Committed | ObjectInfo | None:
        """Find out whether a try whose answer was lost has been carried out.

        Returns what an earlier one made where the file has been changed since.
        """
        try:
            found = self._store.head(case.record.key)
        except NotFound:
            return None
        if self._is(found, case.record, case.staged):
            return Committed(found)
        return found if self._is_earlier(found, case.record, case.tried) else None

    def earlier(self, record: Record, tried: Sequence[Record]) -> ObjectInfo | None:
        """Return the object that is there, if one of these tries made it."""
        try:
            found = self._store.head(record.key)
        except NotFound:
            return None
        return found if self._is_earlier(found, record, tried) else None

    def _is_earlier(self, found: ObjectInfo, record: Record, tried: Sequence[Record]) -> bool:
        replaced = found.etag != record.condition
        return replaced and any(self._sent(found, each) for each in tried)

    def judge(self, case: Case) -> Committed:
        """Finish a refused commit where that is right; raises Stale where somebody else won."""
        record = case.record
        where = self._uploader.url(record.key)
        try:
            found = self._store.head(record.key)
        except NotFound:
            return self._gone(case, where)
        if self._is(found, record, case.staged):
            return Committed(found)
        if found.etag == record.condition:
            return self._once_more(case, where)
        if self._store.late.made(found):  # by a try for a file of the name that is gone
            return case.again(replace(record, condition=found.etag))
        if any(self._sent(found, tried) for tried in case.tried):
            record = replace(record, condition=found.etag, base=found)
            return case.again(record)
        if record.condition == "*" and self._was_there(found, case.creation):
            return self._discovered(found, case)
        if self._uploader.overwrites and case.staged.dirty.covers(0, record.size):
            return case.again(replace(record, condition=found.etag))
        raise Stale(
            f"{where} was replaced by somebody else (ETag {found.etag}) since it was opened"
        )

    def _gone(self, case: Case, where: str) -> Committed:
        if case.record.condition == "*":
            return self._once_more(case, where)
        if self._uploader.overwrites:
            record = replace(case.record, condition="*")
            return case.again(record)
        raise Stale(f"{where} was deleted by somebody else since it was opened")

    def _once_more(self, case: Case, where: str) -> Committed:
        """The condition holds: another writer (a 409) or a lost upload was in the way."""
        budget = self._store.client.budget()
        while True:
            try:
                return case.again(case.record)
            except (Stale, NotFound) as error:
                if not isinstance(error, Contended) or not budget.wait():
                    raise Unavailable(f"{where}: other writers are in the way") from error

    def _is(self, found: ObjectInfo, record: Record, staged: Staged) -> bool:
        """Say whether an object is what `record` makes; what it replaces is not."""
        if found.etag == record.condition:
            return False
        if record.posix is None:
            return found.size == record.size and self._holds(found, staged)
        return self._sent(found, record)

    def _sent(self, found: ObjectInfo, record: Record) -> bool:
        if record.posix is None or found.size != record.size or found.headers is None:
            return False
        ours = self._uploader.attributes_of(record)
        return dict(found.headers.metadata) == dict(ours.metadata)

    def _holds(self, found: ObjectInfo, staged: Staged) -> bool:
        """Say whether every byte we changed is in an object of the right size."""
        content = self._reader.open(found.key, found.etag, found.size)
        try:
            return (
                not staged.copies
                and (bool(staged.dirty) or not found.size)
                and all(
                    _equal(content, staged, start, min(end, found.size))
                    for start, end in staged.dirty
                )
            )
        except Stale:
            return False
        finally:
            content.close()

    @staticmethod
    def _was_there(found: ObjectInfo, creation: Creation | None) -> bool:
        """Say whether a file we created was there before, unknown to our listing.

        LastModified has whole seconds, so the second of our open itself counts as a conflict.
        """
        if creation is None or creation.flag is None:
            return False
        return found.modified < int(creation.at)

    def _discovered(self, found: ObjectInfo, case: Case) -> Committed:
        """Do to an object what the open would have done had our listing known of it.

        Its writer had closed it before we opened, so close-to-open wants O_TRUNC to replace it and
        O_APPEND to go on at its end.
        """
        record = replace(case.record, condition=found.etag)
        if case.creation is not None and case.creation.flag == os.O_TRUNC:
            return case.again(record)
        size = found.size + record.size
        headers = found.headers or Headers()
        record = replace(record, base=found, size=size, headers=headers)
        dirty = RangeSet()
        dirty.add(found.size, size)
        content = self._reader.open(found.key, found.etag, found.size)
        try:
            changed = Changed(size, found, dirty)
            return case.send(record, changed, _appended(content, case.data))
        finally:
            content.close()


def _appended(content: ObjectVersion, data: FileBytes) -> FileBytes:
    stream = content.stream()

    def both(offset: int, view: memoryview) -> None:
        old = max(0, min(len(view), content.size - offset))
        done = 0
        while done < old:
            done += content.read_into(offset + done, view[done:old], stream)
        if old < len(view):
            data.fill(max(0, offset - content.size), view[old:])

    return FileBytes(both)


def _equal(content: ObjectVersion, staged: Staged, start: int, end: int) -> bool:
    stream = content.stream()
    theirs, ours = bytearray(COMPARE), bytearray(COMPARE)
    while start < end:
        count = content.read_into(start, memoryview(theirs)[: end - start], stream)
        staged.read(start, memoryview(ours)[:count])
        if not count or theirs[:count] != ours[:count]:
            return False
        start += count
    return True
