"""Moving objects to other keys: copies and deletes, in an order that loses nothing.

A file is copied, then its old key is deleted. Of a directory everything is copied first and noted
in a journal (`renamejournal`), then what was copied is deleted; a failed copy takes the copies back
and leaves the source complete. A copy is pinned to the version that was listed, goes to a key that
nobody has, and the delete is for that version only, where the store can: what others write
meanwhile stays where they wrote it.

Not here: names and nodes (`namespace`). Any thread; one directory is renamed at a time by the
caller's lock. Copies and deletes run on the pool, a bounded number at once.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fusefs import keys
from fusefs.bulkhead import bulkhead
from fusefs.errors import AttributeTooBig, Exists, FsError, NotFound, Stale, Unavailable
from fusefs.names.renamejournal import Copied, RenameJournal
from fusefs.objects import Headers, ObjectInfo
from fusefs.s3.conditions import IF_ABSENT
from fusefs.s3.store import Store
from fusefs.write.filecontent import FileContent
from fusefs.write.unsent import DirtySet
from fusefs.write.uploader import Uploader

log = logging.getLogger(__name__)

AT_ONCE = 64  # requests under way
LOOK_AHEAD = 10_000  # journal entries in memory, some 200 bytes each

Item = TypeVar("Item")
Result = TypeVar("Result")


class ObjectMover:
    """Moves objects of one store; `moved` is called with each moved key of a directory."""

    def __init__(self, store: Store, uploader: Uploader, pool: Executor) -> None:
        self._store = store
        self._uploader = uploader
        self._pool = pool

    # -- one object ------------------------------------------------------------------------------

    def move(
        self, before: ObjectInfo, key: str, condition: str | None, headers: Headers | None = None
    ) -> ObjectInfo:
        """Give one object another key: one copy, one delete; one request where a store renames.

        The copy gets `headers`, or keeps those there are; a rename keeps them.
        """
        if self._store.renames:
            self._store.rename(before.key, before.etag, key, condition)
            return replace(before, key=key)
        try:
            etag, modified, headers = self._copied(before, key, headers, condition)
        except (Stale, NotFound) as error:
            found = self._there(key) if error.retried else None
            if found is None or not self.same(found, before):
                raise
            etag, modified = found.etag, found.modified  # ours: only its answer was lost
            self._store.late.present(key)
        self._delete(before.key, before.etag)
        if headers is not None:  # with times of its own: who moves it back changes them again
            self._store.late.removed(before.key)
        return ObjectInfo(key, before.size, etag, modified, headers or before.headers)

    def _copied(
        self, before: ObjectInfo, key: str, headers: Headers | None, condition: str | None
    ) -> tuple[str, float, Headers | None]:
        """Copy an object; return the headers that it was given, too."""
        try:
            return *self._uploader.copy(before, key, headers, condition), headers
        except AttributeTooBig:
            if headers is None:
                raise
            return *self._uploader.copy(before, key, None, condition), None  # it goes as it is

    def _delete(self, key: str, etag: str) -> None:
        """Delete one version; another one stays, and is reported."""
        try:
            self._store.delete(key, etag)
        except NotFound:
            return  # an earlier try, whose answer was lost
        except Stale:
            log.warning("replaced by others while it was renamed; it stays", extra={"key": key})

    # -- a directory -----------------------------------------------------------------------------

    def move_all(
        self,
        journal: RenameJournal,
        moved: Callable[[Copied], None],
        settle: Callable[[], None] = lambda: None,
        *,
        replaces: bool = False,
        resumed: bool = False,
    ) -> None:
        """Move all keys of a directory; `replaces`: the new one is there already, and empty.

        `settle` is called at the end, before the journal forgets. Raises what the first failed copy
        raised, with the source complete and the copies gone. A failed delete is left to the next
        start, and raised. `resumed`: a former process began it, and is still waited for.
        """
        try:
            if not journal.deleting:
                self._copy_all(journal, resumed=resumed)
                journal.note_deleting()
        except (FsError, OSError):
            self._undo(journal, replaces)
            raise
        self._finish(journal, moved, settle, resumed=False)

    def resume(self, journal: RenameJournal, moved: Callable[[Copied], None]) -> None:
        """Go on where a former process was killed: forward, or back where it was going back."""
        if journal.undoing:
            self.take_back(journal)
            return
        if not journal.deleting:
            self._copy_all(journal, resumed=True)
            journal.note_deleting()
        self._finish(journal, moved, lambda: None, resumed=True)

    def take_back(self, journal: RenameJournal) -> None:
        """Go on with going back, where a former process was killed."""
        self._take_back(journal, replaces=False)
        journal.end()

    def _finish(
        self,
        journal: RenameJournal,
        moved: Callable[[Copied], None],
        settle: Callable[[], None],
        *,
        resumed: bool,
    ) -> None:
        try:
            self._delete_all(journal, resumed=resumed)
            for entry in journal.entries():
                moved(entry)
            settle()
        except (FsError, OSError):
            journal.leave()
            raise
        journal.end()

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        token: str | None = None
        while True:
            page = self._store.list_page(prefix, "", token)
            yield from page.objects
            token = page.next_token
            if token is None:
                return

    def _copy_all(self, journal: RenameJournal, *, resumed: bool) -> None:
        noted = _Window(journal.entries(), self._store)

        def left() -> Iterator[ObjectInfo]:
            for source in self._listed(journal.old):
                entry = noted.take(source.key[len(journal.old) :]) if resumed else None
                if entry is None or entry.etag != source.etag:
                    yield source

        def copy(source: ObjectInfo) -> tuple[ObjectInfo, ObjectInfo] | None:
            return self._copy(journal, source, resumed)

        def note(done: tuple[ObjectInfo, ObjectInfo] | None) -> None:
            if done is not None:
                journal.note(*done)

        _each(self._pool, copy, left(), note)

    def _copy(
        self, journal: RenameJournal, source: ObjectInfo, resumed: bool
    ) -> tuple[ObjectInfo, ObjectInfo] | None:
        key = journal.new + source.key[len(journal.old) :]
        keys.check("x", key)
        # The new directory's marker may be there: an empty directory can be replaced.
        condition = None if source.key == journal.old else IF_ABSENT
        try:
            etag, modified = self._uploader.copy(source, key, None, condition)
        except Stale:
            found = self._there(key)
            if found is None or not self.same(found, source):
                return self._in_the_way(source, key, resumed)
            etag, modified = found.etag, found.modified  # ours: its answer or note was lost
            self._store.late.present(key)
        except NotFound:
            if self._there(source.key) is not None:
                raise Unavailable(f"{source.key} is there but can't be copied") from None
            return None  # deleted by others
        return source, ObjectInfo(key, source.size, etag, modified)

    @staticmethod
    def _in_the_way(source: ObjectInfo, key: str, resumed: bool) -> None:
        """Somebody else made the new key: theirs is kept, and ours under the old name."""
        if not resumed:
            raise Exists(f"{key} was made by somebody else meanwhile")
        log.error("not renamed: others made the new key", extra={"key": source.key})

    def _there(self, key: str) -> ObjectInfo | None:
        try:
            return self._store.head(key)
        except NotFound:
            return None

    def _is_there(self, key: str, etag: str) -> bool:
        found = self._there(key)
        return found is not None and found.etag == etag

    def same(self, found: ObjectInfo, source: ObjectInfo) -> bool:
        """Say whether an object is a copy of another: by content where the ETag is its hash."""
        if found.size != source.size:
            return False
        origin = self._there(source.key)
        if origin is None or origin.etag != source.etag or origin.headers is None:
            return False
        alike = found.headers is not None and _kept(found.headers) == _kept(origin.headers)
        if "-" in source.etag + found.etag:
            return alike
        if not self._store.sorted and origin.headers.metadata:
            return alike  # ETags of directory buckets are new for each copy
        return alike and found.etag == source.etag

    def _delete_all(self, journal: RenameJournal, *, resumed: bool) -> None:
        """Delete what was copied and is still the same; when resumed, only where its copy is too.

        Markers of directories go last, the deepest first: until then there is something to look
        into, and some stores list for ever a directory that loses its marker before its files.
        Only they are kept in memory.
        """
        copied = _Window(journal.entries(), self._store)
        markers: list[ObjectInfo] = []

        def doomed() -> Iterator[ObjectInfo]:
            for info in self._listed(journal.old):
                entry = copied.take(info.key[len(journal.old) :])
                if entry is None or entry.etag != info.etag:
                    log.warning("written by others during a rename", extra={"key": info.key})
                elif resumed and not self._is_there(journal.new + entry.suffix, entry.new_etag):
                    # The rename was reported as failed; somebody may have tidied up since.
                    log.warning("its copy is gone, so it stays", extra={"key": info.key})
                elif info.key.endswith("/"):
                    markers.append(info)
                else:
                    yield info

        _each(self._pool, lambda info: self._delete(info.key, info.etag), doomed())
        for info in sorted(markers, key=lambda info: info.key.count("/"), reverse=True):
            self._delete(info.key, info.etag)

    def _undo(self, journal: RenameJournal, replaces: bool) -> None:
        try:
            journal.note_undoing()
            self._take_back(journal, replaces)
        except (FsError, OSError) as error:
            log.warning(
                "copies of a failed rename stay until the next start",
                extra={"prefix": journal.new, "error": str(error)},
            )
            journal.leave()
        else:
            journal.end()

    def _take_back(self, journal: RenameJournal, replaces: bool) -> None:
        made = (entry for entry in journal.entries() if entry.suffix or not replaces)
        _each(
            self._pool, lambda entry: self._delete(journal.new + entry.suffix, entry.new_etag), made
        )


def _kept(headers: Headers) -> Mapping[str, str]:
    """Return what a copy has of its source in any case: the time of the rename is its own."""
    return {name: text for name, text in headers.metadata.items() if name != "ctime"}


def forget_renames(journals: Path, complete: Callable[[str, str], bool]) -> None:
    """End the journals of renames of which `complete(old, new)` knows that all else was done."""
    for path in sorted(journals.glob("*.json")):
        # What can't be read is said by whoever finishes the others.
        with suppress(OSError, ValueError, KeyError):
            journal = RenameJournal.left(path)
            if journal is not None and journal.deleting and complete(journal.old, journal.new):
                journal.end()
            elif journal is not None:
                journal.leave()


def resume_renames(mover: ObjectMover, dirty: DirtySet, journals: Path) -> None:
    """Finish the directory renames that former processes began.

    Changes they left unsent follow. What can't be finished now is said, and tried at the next
    start.
    """
    for path in sorted(journals.glob("*.json")):
        with bulkhead("an interrupted rename", journal=str(path)):
            _resume_left(dirty, mover, path)


def _resume_left(dirty: DirtySet, mover: ObjectMover, path: Path) -> None:
    try:
        journal = RenameJournal.left(path)
        if journal is not None:
            _resume(dirty, mover, journal)
    except (FsError, OSError, ValueError, KeyError) as error:
        log.error(  # noqa: TRY400 - the traceback says nothing more
            "an interrupted rename is not finished; some keys have the old name",
            extra={"journal": str(path), "error": str(error)},
        )


def _resume(dirty: DirtySet, mover: ObjectMover, journal: RenameJournal) -> None:
    log.warning(
        "finishing a rename that was interrupted",
        extra={"old": journal.old, "new": journal.new},
    )
    left = {
        body.key: body
        for body in dirty.all()
        if isinstance(body, FileContent) and body.key.startswith(journal.old)
    }

    def moved(entry: Copied) -> None:
        body = left.pop(journal.old + entry.suffix, None)
        if body is not None and body.etag == entry.etag:
            key = journal.new + entry.suffix
            base = body.info
            assert base is not None  # noqa: S101 - it has an ETag
            body.moved(ObjectInfo(key, base.size, entry.new_etag, entry.modified, base.headers))

    undone = journal.undoing
    mover.resume(journal, moved)
    for key, body in left.items():
        if not undone and body.etag is None:
            body.rekey(journal.new + key[len(journal.old) :])


class _Window:
    """Finds noted keys again while they are listed once more.

    Both come in the store's order, so a bounded look ahead is enough; a store without one has to be
    looked ahead of without bound.
    """

    def __init__(self, entries: Iterator[Copied], store: Store) -> None:
        self._entries = entries
        self._most = LOOK_AHEAD if store.sorted else sys.maxsize
        self._ahead: dict[str, Copied] = {}

    def take(self, suffix: str) -> Copied | None:
        """Return what was noted of a key, once."""
        while suffix not in self._ahead and len(self._ahead) < self._most:
            entry = next(self._entries, None)
            if entry is None:
                break
            self._ahead[entry.suffix] = entry
        found = self._ahead.pop(suffix, None)
        if found is None and len(self._ahead) >= self._most:
            # Full of keys that others deleted: the oldest are never asked for again.
            for old in list(self._ahead)[: LOOK_AHEAD // 2]:
                del self._ahead[old]
        return found


def _each(
    pool: Executor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    done: Callable[[Result], object] = lambda _: None,
) -> None:
    """Run `work` on all items, a bounded number at once; `done` gets the results in their order.

    After a failure no more is begun; what is under way is waited for and reported, too, then the
    first error is raised: nothing goes on behind an undo, and nothing done is forgotten by it.
    """
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= AT_ONCE:
                done(under_way.popleft().result())
        while under_way:
            done(under_way.popleft().result())
    finally:
        for future in under_way:
            if not future.cancel() and future.exception() is None:
                done(future.result())
