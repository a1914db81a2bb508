"""Changed content that isn't in S3 yet: a sparse local file and the journal that explains it.

`NAME.data` holds the bytes at their offsets, `NAME.log` says which of them count. The log has one
line per step (`stagedjournal` gives the forms), written after the data it speaks of and before the
caller is answered, so that a process killed at any moment leaves a log that is true (a torn last
line is a step without an answer). Both live in the page cache until the kernel writes them:
kill-safe, not power-safe. After another boot a file is trusted only if it was sealed: on the disk,
with checksums that still hold. `doubt` says why one isn't.

Not here: S3, and the bytes that didn't change. Not thread-safe: `filecontent.FileContent` locks.
"""

import errno
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fusefs.cache.cache import Cache
from fusefs.disk.boot import boot_id
from fusefs.disk.fallocate import punch
from fusefs.disk.space import Space
from fusefs.errors import TooBig
from fusefs.objects import ObjectInfo
from fusefs.s3.uploads import UploadedPart
from fusefs.write.multipart import MultipartUpload, replayed
from fusefs.write.ranges import RangeSet
from fusefs.write.seal import SEALING, Seal
from fusefs.write.serversidecopy import CopiedRange, CopiedRanges, CopySource
from fusefs.write.stagedfiles import created, data_of, leftovers, log_of, moved, removed
from fusefs.write.stagedjournal import Record, StagedJournal
from fusefs.write.storedbytes import StoredBytes
from fusefs.write.uploadplan import MAX_OBJECT, Changed, GiB

__all__ = ["Record", "Staged", "leftovers"]

ZEROS = bytes(1 << 20)
# A store has no holes: each zero of a file is sent. What takes longer than minutes is refused.
MOST_ZEROS = 64 * GiB
JOURNALED_MOST = 32


class Staged:
    """One staged file, open."""

    def __init__(self, stem: Path | str, record: Record, space: Space) -> None:
        """Start a new staged file `stem`.data; raises OSError when the disk refuses."""
        self.stem, self._data_path, self._log_path = stem, data_of(stem), log_of(stem)
        self.record = record
        self.dirty = RangeSet()
        self.copies = CopiedRanges()
        self._stored = StoredBytes()  # what takes space: dirty without the holes and copied ranges
        self._space = space
        self.outgoing: MultipartUpload | None = None
        self.initial_size = record.size
        self.journaled: list[Record] = []  # by a former process: one of them may be in the bucket
        self._seal = Seal()
        self._data = created(self._data_path)
        try:
            self._journal = StagedJournal.begin(self._log_path, record)
        except OSError:
            os.close(self._data)
            removed(self._data_path)
            raise

    @classmethod
    def restore(cls, stem: Path, space: Space) -> "Staged | None":
        """Open what a former process left; None without a first line: nothing was acknowledged.

        Raises ValueError, KeyError or TypeError, with the files as they were, for a log that can't
        be understood.
        """
        found = StagedJournal.resume(log_of(stem))
        if found is None:
            data = Path(data_of(stem))
            if data.exists() and data.stat().st_size:  # a power failure took what came before
                raise ValueError("its log is empty")
            removed(log_of(stem))
            removed(data_of(stem))
            return None
        self = cls.__new__(cls)
        self._journal, lines = found
        self.stem, self._data_path, self._log_path = stem, data_of(stem), log_of(stem)
        self._space = space
        try:
            self._load(lines)
        except BaseException:
            self._journal.close()
            raise
        space.found(self._stored.taken)
        return self

    def _load(self, lines: list[bytes]) -> None:
        self.dirty, self._stored, self.copies = RangeSet(), StoredBytes(), CopiedRanges()
        self.record = Record.of(json.loads(lines[0]))
        self.initial_size = self.record.size
        self.outgoing = None
        self._seal = Seal()
        self.journaled = [self.record]
        for line in lines[1:]:
            self._replay(line)
        self._data = os.open(self._data_path, os.O_RDWR | os.O_CLOEXEC)
        self._redo(lines[-1])
        self._cut()

    def _redo(self, line: bytes) -> None:
        """Carry out the last step again: it was logged first, and its process may have died."""
        kind, _, rest = line.partition(b" ")
        if kind in (b"z", b"b"):
            start, end = map(int, rest.split(b" ", 2)[:2])
            self._clear(start, end)
        elif kind == b"t" and int(rest) < os.fstat(self._data).st_size:
            os.ftruncate(self._data, int(rest))

    def _cut(self) -> None:
        """Take away what a write that failed, or was not acknowledged, has left beyond the end.

        Whatever makes the file longer later counts on zeros there.
        """
        if os.fstat(self._data).st_size > self.record.size:
            os.ftruncate(self._data, self.record.size)

    def _replay(self, line: bytes) -> None:
        kind, _, rest = line.partition(b" ")
        self._seal.replay(kind, rest)
        if kind == b"w":
            offset, length = map(int, rest.split())
            self._wrote(offset, offset + length)
        elif kind == b"z":
            start, end = map(int, rest.split())
            self._zeroed(start, end)
        elif kind == b"t":
            self._resized(int(rest))
        elif kind == b"b":
            low, high, shift, info = rest.split(b" ", 3)
            source = CopySource(ObjectInfo(*json.loads(info)), int(shift))
            self._copied_in(CopiedRange(int(low), int(high), source))
        elif kind in (b"m", b"u", b"v", b"x"):
            self.outgoing = replayed(self.outgoing, kind, rest, self.record.posix)
        elif kind == b"r":
            self.record = Record.of(json.loads(rest)).sized(self.record.size)
            self.journaled = [*self.journaled[-JOURNALED_MOST:], self.record]
        elif kind == b"o":
            self._journal.boot = rest.decode()
        elif kind not in SEALING:
            raise ValueError(f"unknown step {kind!r}")

    def upload_begun(self, outgoing: MultipartUpload) -> None:
        """A multipart upload was begun, with the attributes it says."""
        self.change(replace(self.record, posix=outgoing.posix))
        self._journal.append_json(outgoing.as_json(), "m ")
        self.outgoing = outgoing

    def part_sent(self, part: UploadedPart) -> None:
        """The store has a part of what is staged."""
        assert self.outgoing is not None  # noqa: S101 - the caller has just asked
        self._journal.append(f"u {part.number} {part.etag} {part.crc32 or '-'}\n".encode())
        self.outgoing.parts[part.number] = part

    def upload_ended(self) -> None:
        """The upload is given up."""
        self.outgoing = None
        self._journal.append(b"x\n")

    def _changed(self, start: int, end: int) -> None:
        self.copies.remove(start, end)
        if self.outgoing is not None:
            self.outgoing.changed(start, end)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`; raises NoSpace or OSError with what was acknowledged as before."""
        length, end = len(data), offset + len(data)
        if offset > self.record.size or end > MAX_OBJECT:
            self._fits(self.record.size, offset, end)
        wanted, new = self._stored.lacks(offset, end), 0
        self._space.take(wanted)
        try:
            if self._seal.holds:
                self._unseal()
            if self.outgoing is not None:
                self._void(self.outgoing, offset, end)
            done, view = 0, memoryview(data)
            while done < length:
                done += os.pwrite(self._data, view[done:], offset + done)
            if not self._stored.bytes.covers(offset, end):
                self._journal.append(b"w %d %d\n" % (offset, length))
            new = self._wrote(offset, end)
        except OSError:
            self._undo(offset, end)
            raise
        finally:
            if new != wanted:
                self._space.give(wanted - new)

    def _undo(self, start: int, end: int) -> None:
        """Take away what a write that failed has left where zeros are counted on."""
        self._cut()
        for low, high, stored in list(self._stored.bytes.pieces(start, min(end, self.record.size))):
            if not stored:
                with suppress(OSError):
                    self._clear(low, high)

    def _fits(self, start: int, stop: int, end: int) -> None:
        """Raise TooBig where a step makes zeros of `start` to `stop`, and the file `end` long."""
        if end > MAX_OBJECT:
            raise TooBig(f"{self.record.key}: no object has more than {MAX_OBJECT} bytes")
        if start >= stop:
            return
        zeros = stop - start - self._zeros_within(start, stop)
        if zeros + self._zeros_within(0, self.record.size) > MOST_ZEROS:
            raise TooBig(
                f"{self.record.key}: more than {MOST_ZEROS} bytes of zeros would have to be sent, "
                "for objects have no holes"
            )

    def _zeros_within(self, start: int, end: int) -> int:
        """Count the dirty bytes of a range that are neither stored nor copied."""
        copied = sum(high - low for low, high, source in self.copies.pieces(start, end) if source)
        return self.dirty.within(start, end) - self._stored.within(start, end) - copied

    def seal(self) -> None:
        """Have all of it on the disk, with checksums, so that it may outlive a power failure."""
        if not self._seal.holds:
            os.fdatasync(self._data)
            self._journal.append(Seal.lines(self._data, self._stored.bytes))
            self._journal.sync()
            self._seal.holds = True

    def _unseal(self) -> None:
        if self._seal.holds:
            self._journal.append(b"e\n")
            self._seal = Seal()

    def doubt(self) -> str:
        """Say why what a former process left may not be what it wrote; "" where it is.

        What may be uploaded is this boot's from now on.
        """
        *_, (_, last) = [(0, 0), *self._stored]
        if os.fstat(self._data).st_size < last:
            return "bytes that were written are not on the disk"
        if self._journal.boot == (boot := boot_id()):
            return ""
        if not self._seal.holds:
            return "it was being changed when the machine went down"
        if not self._seal.fits(self._data, self._stored.bytes):
            return "its bytes on the disk are not those that were written"
        self._journal.append(f"o {boot}\n".encode())
        self._journal.boot = boot
        return ""

    def _void(self, outgoing: MultipartUpload, start: int, end: int) -> None:
        """Have parts sent again whose bytes change; said first, for a death in the middle."""
        if outgoing.has(start, end):
            self._journal.append(b"v %d %d\n" % (start, end))
            outgoing.changed(start, end)

    def _wrote(self, start: int, end: int) -> int:
        # A write beyond the end leaves a hole of zeros that S3 doesn't have either.
        begin = min(start, self.record.size)
        if self.copies or self.outgoing is not None:
            self._changed(begin, end)
        self.dirty.add(begin, end)
        if end > self.record.size:
            self.record = self.record.sized(end)
        return self._stored.add(start, end)

    def zero(self, start: int, end: int) -> None:
        """Make a range read as zeros, and dirty; takes no space. A gap before it is zeros too."""
        self._fits(min(start, self.record.size), end, end)
        self._unseal()
        self._journal.append(b"z %d %d\n" % (start, end))
        self._clear(start, end)
        self._space.give(self._zeroed(start, end))

    def _clear(self, start: int, end: int) -> None:
        try:
            punch(self._data, start, end - start)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            for at in range(start, min(end, os.fstat(self._data).st_size), len(ZEROS)):
                os.pwrite(self._data, ZEROS[: end - at], at)

    def _zeroed(self, start: int, end: int) -> int:
        start = min(start, self.record.size)
        self._changed(start, end)
        self.dirty.add(start, end)
        self.record = replace(self.record, size=max(self.record.size, end))
        return self._stored.remove(start, end)

    def copy_in(self, copied: CopiedRange) -> None:
        """Take bytes of another object; they take no space, and are copied at the commit."""
        start, end, info = copied.start, copied.end, copied.source.info
        self._fits(min(start, self.record.size), start, end)
        self._unseal()
        line = json.dumps([info.key, info.size, info.etag, info.modified])
        self._journal.append(f"b {start} {end} {copied.source.shift} {line}\n".encode())
        self._clear(start, end)
        self._space.give(self._copied_in(copied))

    def _copied_in(self, copied: CopiedRange) -> int:
        freed = self._zeroed(copied.start, copied.end)
        self.copies.add(copied)
        return freed

    def local(self, start: int, end: int) -> bool:
        """Say whether all of a range was changed and is here."""
        here = all(source is None for _, _, source in self.copies.pieces(start, end))
        return here and self.dirty.covers(start, end)

    def file(self, start: int, end: int) -> int | None:
        """Return the descriptor of the data if all of a range was written there, else None."""
        return self._data if self._stored.bytes.covers(start, end) else None

    @property
    def whole(self) -> bool:
        """Whether every byte of the file is on the disk: no hole is."""
        return self._stored.bytes.covers(0, self.record.size)

    def changed(self, base: ObjectInfo | None) -> Changed:
        """Return what makes the file out of the object below."""
        return Changed(self.record.size, base, self.dirty, self.copies)

    def resize(self, size: int) -> None:
        """Truncate, or extend with zeros."""
        self._fits(self.record.size, size, size)
        self._unseal()
        self._journal.append(b"t %d\n" % size)
        if size < self.record.size:
            os.ftruncate(self._data, size)
        self._space.give(self._resized(size))

    def _resized(self, size: int) -> int:
        old = self.record.size
        self._changed(min(old, size), max(old, size))
        self.record = self.record.sized(size)
        if size < old:
            self.dirty.remove(size, old)
            return self._stored.cut(size, old)
        self.dirty.add(old, size)
        return 0

    def change(self, record: Record) -> None:
        """Go on with another key, base or attributes; the size stays."""
        same = record.size == self.record.size
        self.record = record if same else record.sized(self.record.size)
        self._journal.append_json(self.record.as_json(), "r ")

    def read(self, offset: int, view: memoryview) -> None:
        """Fill `view` from bytes that are dirty; what the sparse file lacks are zeros."""
        done = 0
        while done < len(view):
            got = os.preadv(self._data, [view[done:]], offset + done)
            if not got:
                view[done:] = bytes(len(view) - done)
                return
            done += got

    def close(self) -> None:
        """Close the files; they stay on disk."""
        os.close(self._data)
        self._journal.close()

    def discard(self) -> None:
        """Close and remove the files."""
        self.close()
        self._space.give(self._stored.taken)
        removed(self._log_path)
        removed(self._data_path)

    def become_cache(self, cache: Cache, info: ObjectInfo) -> None:
        """Hand the data, which is all of `info`'s content, to the cache; remove the log."""
        try:
            os.ftruncate(self._data, info.size)
            os.stat(self._data_path)  # noqa: PTH116 - see `stagedfiles`
        except OSError:
            self.discard()
            return
        self.close()
        removed(self._log_path)
        cache.adopt(self._data_path, info.key, info.etag, info.size, self._stored.taken)

    def keep_as_conflict(self, directory: Path) -> Path:
        """Move data and log to `directory`; return the data's new path."""
        directory.mkdir(parents=True, exist_ok=True)
        os.ftruncate(self._data, self.record.size)
        target = directory / Path(self.stem).name
        moved(self._data, self._data_path, data_of(target))
        self._journal.move(log_of(target))
        self._space.give(self._stored.taken)  # whoever has the directory counts it from now on
        self.close()
        return Path(data_of(target))
