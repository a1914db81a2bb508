"""The journal of one staged file: the record it began with, then a line for each step.

What is in braces is JSON. `Staged` does what the lines say, this is their form and file.

    {"version": 2, "boot": ID, …}
                          first line: the `Record` this file started with, and in which boot
    w OFFSET LENGTH       bytes written
    z START END           zeros written, as a hole; a START beyond the end makes zeros of the gap
    b START END SHIFT {…} bytes START to END are those of another object at SHIFT from there
    t SIZE                truncated or extended to SIZE
    r {…}                 the record as it is from here on (key, base, attributes changed)
    m {…}                 a multipart upload was begun, with the record's attributes
    u NUMBER ETAG CRC     a part of it was sent (CRC `-` where the store sent none)
    v START END           parts with these bytes don't count any more: they are about to be changed
    x                     the upload is given up
    k START END CRC       stored bytes have this CRC32
    s                     all stored bytes have one in the lines before, and are on the disk
    e                     they are about to be changed again
    o BOOT                a process of this boot goes on

Version 1 had no boot and none of the last four; it is read, too.

Not here: the bytes, and what a step does to them. Not thread-safe: `filecontent.FileContent` locks.
"""

import errno
import json
import os
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from fusefs import versions
from fusefs.attributes import Posix
from fusefs.disk.boot import boot_id, booted_at
from fusefs.objects import Headers, ObjectInfo
from fusefs.write.stagedfiles import created, moved, removed

VERSION = 2
KNOWN = (1, VERSION)
POSIX = [each.name for each in fields(Posix)]
POSIX_VALUES = attrgetter(*POSIX)
encoded = json.JSONEncoder().encode  # `json.dumps` looks for options first


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
    node: int = 0
    unlinked: bool = False

    def sized(self, size: int) -> "Record":
        """Return the record with another size, ten times as fast as `replace` of dataclasses."""
        return Record(
            self.key, self.condition, self.base, size, self.headers, self.posix, self.node,
            self.unlinked,
        )  # fmt: skip

    def going(self, key: str, posix: Posix | None) -> "Record":
        """Return the record as it is about to be sent."""
        return Record(
            key, self.condition, self.base, self.size, self.headers, posix, self.node,
            self.unlinked,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the record as values that JSON can hold."""
        posix, base = self.posix, self.base
        packed = None
        if posix is not None:
            packed = dict(zip(POSIX, POSIX_VALUES(posix), strict=True))
            packed["xattrs"] = (
                {name: value.hex() for name, value in posix.xattrs.items()} if posix.xattrs else {}
            )
        return {
            "key": self.key,
            "condition": self.condition,
            "base": [base.key, base.size, base.etag, base.modified] if base is not None else None,
            "size": self.size,
            "metadata": dict(self.headers.metadata),
            "system": dict(self.headers.system),
            "posix": packed,
            "upload": None,  # read by 0.1.0
            "node": self.node,
            "unlinked": self.unlinked,
        }

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Record":
        """Make the record from what `as_json` returned."""
        posix = document["posix"]
        if posix is not None:
            xattrs = {name: bytes.fromhex(value) for name, value in posix["xattrs"].items()}
            posix = Posix(**{**posix, "xattrs": xattrs})
        return cls(
            document["key"],
            document["condition"],
            ObjectInfo(*document["base"]) if document["base"] is not None else None,
            document["size"],
            Headers(document["metadata"], document["system"]),
            posix,
            document["node"],
            document["unlinked"],
        )


class StagedJournal:
    """The open file of a journal; it only grows. `boot` is the last one it knows of."""

    def __init__(self, path: str, fd: int, boot: str) -> None:
        self.path = path
        self.boot = boot
        self._fd = fd

    @classmethod
    def begin(cls, path: str, record: Record) -> "StagedJournal":
        """Begin with what is changed; OSError, and no file, when the disk refuses."""
        journal = cls(path, created(path, os.O_APPEND), boot_id())
        try:
            journal.append_json({"version": VERSION, "boot": journal.boot, **record.as_json()})
        except OSError:
            journal.close()
            removed(path)
            raise
        return journal

    @classmethod
    def resume(cls, path: str) -> "tuple[StagedJournal, list[bytes]] | None":
        """Open what a former process left, and its whole lines; None without a first one.

        A torn last line is cut off: nobody got an answer for that step. Raises ValueError, with
        the file as it was, where its version isn't known.
        """
        lines = Path(path).read_bytes().split(b"\n")[:-1]
        if not lines:
            return None
        document = json.loads(lines[0])
        boot = str(document["boot"]) if versions.check(document, KNOWN) > 1 else _boot_of(path)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(fd, sum(len(line) + 1 for line in lines))
        return cls(path, fd, boot), lines

    def append_json(self, step: dict[str, Any], kind: str = "") -> None:
        """Add a line with JSON."""
        self.append(f"{kind}{encoded(step)}\n".encode())

    def append(self, line: bytes) -> None:
        """Add a line, or nothing: half of one would make the next ones unreadable."""
        done = os.write(self._fd, line)
        if done < len(line):
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - done)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    def sync(self) -> None:
        """Wait until all of it, and its name, are on the disk."""
        os.fdatasync(self._fd)
        directory = os.open(Path(self.path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def move(self, target: str) -> None:
        """Go on under another name."""
        moved(self._fd, self.path, target)
        self.path = target

    def close(self) -> None:
        """Close the file; it stays on disk."""
        os.close(self._fd)


def _boot_of(path: str) -> str:
    """Tell the boot of a journal that doesn't by the time of its last line."""
    return boot_id() if Path(path).stat().st_mtime >= booted_at() else "an earlier boot"
