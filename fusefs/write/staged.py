"""Changed content that isn't in S3 yet: a sparse local file and the journal that explains it.

`NAME.data` holds the bytes at their offsets, `NAME.log` says which of them count. The log has one
line per step, written after the data it speaks of and before the caller is answered, so that a
process killed at any moment leaves a log that is true (a torn last line is a step nobody was told
of). Both live in the page cache until the kernel writes them: kill-safe, not power-safe.

    {"version": 1, …}     first line: the `Record` this file started with
    w OFFSET LENGTH       bytes written
    z START END           zeros written, as a hole
    b START END SHIFT {…} bytes START to END are those of another object at SHIFT from there
    t SIZE                truncated or extended to SIZE
    r {…}                 the record as it is from here on (key, base, attributes changed)
    m {…}                 a multipart upload was begun, with the record's attributes
    u NUMBER ETAG CRC     a part of it was sent (CRC `-` where the store told none)
    v START END           parts with these bytes don't count any more: they are about to be changed
    x                     the upload is given up

Not here: S3, and the bytes that didn't change. Not thread-safe: `body.Body` locks.
"""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fusefs.attributes import Posix
from fusefs.cache.cache import Cache
from fusefs.disk.fallocate import punch
from fusefs.disk.space import Space
from fusefs.objects import Headers, ObjectInfo
from fusefs.s3.store import Part
from fusefs.write.multipart import Outgoing
from fusefs.write.ranges import RangeSet
from fusefs.write.serversidecopy import Loan, Loans
from fusefs.write.uploadplan import Changed

VERSION = 1
ZEROS = bytes(1 << 20)
JOURNALED_MOST = 32


@dataclass(frozen=True, slots=True)
class Record:
    """Where a staged file goes: key, the object it changes (or None), and its attributes.

    `condition` is what must hold at the commit: `"*"`, an ETag, or None for always. `size` is the
    size of the file. `posix` is None where no attributes are stored. `node` is the kernel's id of
    the file, `unlinked` says that it has no name any more and lives as long as it is open.
    """

    key: str
    condition: str | None
    base: ObjectInfo | None
    size: int
    headers: Headers = field(default_factory=Headers)
    posix: Posix | None = None
    upload: str | None = None
    node: int = 0
    unlinked: bool = False


class Staged:
    """One staged file, open."""

    def __init__(self, stem: Path, record: Record, space: Space) -> None:
        """Start a new staged file `stem`.data; raises OSError when the disk refuses."""
        self.stem = stem
        self.record = record
        self.dirty = RangeSet()
        self.loans = Loans()
        self._stored = RangeSet()  # what takes space: dirty without the holes and loans
        self._space = space
        self._data = _created(_data(stem))
        self._log = -1
        self.outgoing: Outgoing | None = None
        self.initial_size = record.size
        self.journaled: list[Record] = []  # by a former process: one of them may be in the bucket
        try:
            self._log = os.open(
                _log(stem), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            self._say({"version": VERSION, **_to_json(record)})
        except OSError:
            os.close(self._data)
            if self._log >= 0:
                os.close(self._log)
            _log(stem).unlink(missing_ok=True)
            _data(stem).unlink(missing_ok=True)
            raise

    @classmethod
    def restore(cls, stem: Path, space: Space) -> "Staged | None":
        """Open what a former process left; None when it has no first line, so nothing was told."""
        lines = _log(stem).read_bytes().split(b"\n")[:-1]
        if not lines:
            _log(stem).unlink(missing_ok=True)
            _data(stem).unlink(missing_ok=True)
            return None
        self = cls.__new__(cls)
        self.stem, self._space = stem, space
        self.dirty, self._stored, self.loans = RangeSet(), RangeSet(), Loans()
        self.record = _from_json(json.loads(lines[0]))
        self.initial_size = self.record.size
        self.outgoing = None
        self.journaled = [self.record]
        for line in lines[1:]:
            self._replay(line)
        self._data = os.open(_data(stem), os.O_RDWR | os.O_CLOEXEC)
        self._log = os.open(_log(stem), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        # A step that nobody was told of may be in the data but not in the log, or half in it.
        os.ftruncate(self._log, sum(len(line) + 1 for line in lines))
        self._redo(lines[-1])
        space.found(self._stored.total())
        return self

    def _redo(self, line: bytes) -> None:
        """Carry out the last step again: it was logged first, and its process may have died."""
        kind, _, rest = line.partition(b" ")
        if kind == b"z":
            start, end = map(int, rest.split())
            self._clear(start, end)
        elif kind == b"t" and int(rest) < os.fstat(self._data).st_size:
            os.ftruncate(self._data, int(rest))

    def _replay(self, line: bytes) -> None:
        kind, _, rest = line.partition(b" ")
        if kind == b"w":
            offset, length = map(int, rest.split())
            self._wrote(offset, offset + length)
        elif kind == b"z":
            start, end = map(int, rest.split())
            self._zeroed(start, end)
        elif kind == b"t":
            self._resized(int(rest))
        elif kind == b"b":
            low, high, shift, lender = rest.split(b" ", 3)
            self._lent(Loan(int(low), int(high), ObjectInfo(*json.loads(lender)), int(shift)))
        elif kind in (b"m", b"u", b"v", b"x"):
            self._replay_upload(kind, rest)
        else:
            self.record = replace(_from_json(json.loads(rest)), size=self.record.size)
            self.journaled = [*self.journaled[-JOURNALED_MOST:], self.record]

    def _replay_upload(self, kind: bytes, rest: bytes) -> None:
        if kind == b"m":
            self.outgoing = Outgoing.of(json.loads(rest), self.record.posix)
        elif kind == b"x" or self.outgoing is None:
            self.outgoing = None
        elif kind == b"v":
            self.outgoing.changed(*map(int, rest.split()))
        else:
            number, etag, crc = rest.decode().split(" ")
            part = Part(int(number), etag, crc if crc != "-" else None)
            self.outgoing.parts[part.number] = part

    def upload_begun(self, outgoing: Outgoing) -> None:
        """A multipart upload was begun, with the attributes it says."""
        self.change(replace(self.record, posix=outgoing.posix))
        self._say(outgoing.told(), "m ")
        self.outgoing = outgoing

    def part_sent(self, part: Part) -> None:
        """The store has a part of what is staged."""
        assert self.outgoing is not None  # noqa: S101 - the caller has just asked
        self._tell(f"u {part.number} {part.etag} {part.crc32 or '-'}\n".encode())
        self.outgoing.parts[part.number] = part

    def upload_ended(self) -> None:
        """The upload is given up."""
        self.outgoing = None
        self._tell(b"x\n")

    def _changed(self, start: int, end: int) -> None:
        self.loans.remove(start, end)
        if self.outgoing is not None:
            self.outgoing.changed(start, end)

    def _say(self, step: dict[str, Any], kind: str = "") -> None:
        self._tell(f"{kind}{json.dumps(step)}\n".encode())

    def _tell(self, line: bytes) -> None:
        """Append a line to the log, or nothing: half of one would make the next ones unreadable."""
        done = os.write(self._log, line)
        if done < len(line):
            os.ftruncate(self._log, os.fstat(self._log).st_size - done)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(_log(self.stem)))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`; raises NoSpace or OSError with nothing changed that was told of."""
        length = len(data)
        self._space.take(length)
        new = 0
        try:
            self._void(offset, offset + length)
            done, view = 0, memoryview(data)
            while done < length:
                done += os.pwrite(self._data, view[done:], offset + done)
            if not self._stored.covers(offset, offset + length):
                self._tell(b"w %d %d\n" % (offset, length))
            new = self._wrote(offset, offset + length)
        finally:
            self._space.give(length - new)

    def _void(self, start: int, end: int) -> None:
        """Have parts sent again whose bytes change; said first, for a death in the middle."""
        if self.outgoing is not None and self.outgoing.has(start, end):
            self._tell(b"v %d %d\n" % (start, end))
            self.outgoing.changed(start, end)

    def _wrote(self, start: int, end: int) -> int:
        # A write beyond the end leaves a hole of zeros that S3 doesn't have either.
        self._changed(min(start, self.record.size), end)
        self.dirty.add(min(start, self.record.size), end)
        self.record = replace(self.record, size=max(self.record.size, end))
        return self._stored.add(start, end)

    def zero(self, start: int, end: int) -> None:
        """Make a range read as zeros, and dirty; takes no space."""
        self._tell(b"z %d %d\n" % (start, end))
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
        before = self._stored.total()
        self._changed(start, end)
        self._stored.remove(start, end)
        self.dirty.add(start, end)
        self.record = replace(self.record, size=max(self.record.size, end))
        return before - self._stored.total()

    def lend(self, loan: Loan) -> None:
        """Take bytes of another object; they take no space, and travel at the commit."""
        lender = loan.lender
        told = json.dumps([lender.key, lender.size, lender.etag, lender.modified])
        self._tell(f"b {loan.start} {loan.end} {loan.shift} {told}\n".encode())
        self._clear(loan.start, loan.end)
        self._space.give(self._lent(loan))

    def _lent(self, loan: Loan) -> int:
        freed = self._zeroed(min(loan.start, self.record.size), loan.end)
        self.loans.add(loan)
        return freed

    def local(self, start: int, end: int) -> bool:
        """Say whether all of a range was changed and is here."""
        here = all(loan is None for _, _, loan in self.loans.pieces(start, end))
        return here and self.dirty.covers(start, end)

    def changed(self, base: ObjectInfo | None) -> Changed:
        """Return what makes the file out of the object below."""
        return Changed(self.record.size, base, self.dirty, self.loans)

    def resize(self, size: int) -> None:
        """Truncate, or extend with zeros."""
        self._tell(b"t %d\n" % size)
        if size < self.record.size:
            os.ftruncate(self._data, size)
        self._space.give(self._resized(size))

    def _resized(self, size: int) -> int:
        old = self.record.size
        self._changed(min(old, size), max(old, size))
        before = self._stored.total()
        if size < old:
            self.dirty.remove(size, old)
            self._stored.remove(size, old)
        elif size > old:
            self.dirty.add(old, size)
        self.record = replace(self.record, size=size)
        return before - self._stored.total()

    def change(self, record: Record) -> None:
        """Go on with another key, base or attributes; the size stays."""
        self.record = replace(record, size=self.record.size)
        self._say(_to_json(self.record), "r ")

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
        os.close(self._log)

    def discard(self) -> None:
        """Close and remove the files."""
        self.close()
        self._space.give(self._stored.total())
        _log(self.stem).unlink(missing_ok=True)
        _data(self.stem).unlink(missing_ok=True)

    def become_cache(self, cache: Cache, info: ObjectInfo) -> None:
        """Hand the data, which is all of `info`'s content, to the cache; remove the log."""
        try:
            os.ftruncate(self._data, info.size)
        except OSError:
            self.discard()
            return
        self.close()
        _log(self.stem).unlink(missing_ok=True)
        cache.adopt(_data(self.stem), info.key, info.etag, info.size, self._stored.total())

    def keep_as_conflict(self, directory: Path) -> Path:
        """Move data and log to `directory`; return the data's new path."""
        directory.mkdir(parents=True, exist_ok=True)
        os.ftruncate(self._data, self.record.size)
        target = directory / self.stem.name
        _data(self.stem).rename(_data(target))
        _log(self.stem).rename(_log(target))
        self.close()
        return _data(target)


def leftovers(directory: Path) -> Iterator[Path]:
    """Yield the stems of staged files that a former process left, oldest first.

    Halves are removed: data without a log was given to the cache or never told of.
    """
    for data in directory.glob("*.data"):
        if not _log(data).exists():
            data.unlink(missing_ok=True)
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for log in logs:
        yield log.with_suffix("")


def _created(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:  # somebody emptied the cache volume: ENOENT would be a lie
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _data(stem: Path) -> Path:
    return stem.with_suffix(".data")


def _log(stem: Path) -> Path:
    return stem.with_suffix(".log")


def _to_json(record: Record) -> dict[str, Any]:
    posix = record.posix
    packed = asdict(replace(posix, xattrs={})) if posix is not None else None
    if packed is not None and posix is not None:
        packed["xattrs"] = {name: value.hex() for name, value in posix.xattrs.items()}
    base = record.base
    return {
        "key": record.key,
        "condition": record.condition,
        "base": [base.key, base.size, base.etag, base.modified] if base is not None else None,
        "size": record.size,
        "metadata": dict(record.headers.metadata),
        "system": dict(record.headers.system),
        "posix": packed,
        "upload": record.upload,
        "node": record.node,
        "unlinked": record.unlinked,
    }


def _from_json(told: dict[str, Any]) -> Record:
    posix = told["posix"]
    if posix is not None:
        xattrs = {name: bytes.fromhex(value) for name, value in posix.pop("xattrs").items()}
        posix = Posix(**{**posix, "xattrs": xattrs})
    return Record(
        told["key"],
        told["condition"],
        ObjectInfo(*told["base"]) if told["base"] is not None else None,
        told["size"],
        Headers(told["metadata"], told["system"]),
        posix,
        told["upload"],
        told["node"],
        told["unlinked"],
    )
