"""The journal of one directory rename, so that a crash leaves no key behind, and none twice.

`renames/ID.json` is a file of lines, each written when what it says has been done:

    {"version": 1, "old": PREFIX, "new": PREFIX}
                                            first line: the intent; no version is version 1
    ["c", SUFFIX, ETAG, NEW_ETAG, MODIFIED] the key was copied, in the order of the keys
    ["d"]                                   everything is copied; what was copied is being deleted
    ["u"]                                   a copy failed; the copies are being deleted

A torn last line is a copy that was made and not noted. A journal of an unknown version, or with a
step of an unknown kind, is never carried out. Entries are read from the file, never all in
memory. Not here: the requests (`objectmoves`). Used by one thread at a time.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from fusefs import versions
from fusefs.objects import ObjectInfo

VERSION = 1
READ = 64 << 10  # bytes read at once


@dataclass(frozen=True, slots=True)
class Copied:
    """One key of the directory: what was copied, and what the copy is."""

    suffix: str
    etag: str
    new_etag: str
    modified: float


class RenameJournal:
    """The journal of the rename of all keys under `old` to `new`; both end in `/`."""

    def __init__(self, path: Path, old: str, new: str) -> None:
        self.path = path
        self.old = old
        self.new = new
        self.deleting = False
        self.undoing = False
        self.copied = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @classmethod
    def begin(cls, directory: Path, old: str, new: str) -> "RenameJournal":
        """Note the intent. EIO where there is no place for it: no rename without a journal."""
        try:
            directory.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            message = "the cache directory was removed: a directory can't be renamed safely"
            raise OSError(errno.EIO, message, str(directory)) from error
        log = cls(directory / f"{uuid4().hex}.json", old, new)
        log._say([{"version": VERSION, "old": old, "new": new}])
        return log

    @classmethod
    def find(cls, directory: Path, old: str, new: str) -> "RenameJournal | None":
        """Go on with the journal of just this rename, where a former process left one."""
        for path in directory.glob("*.json"):
            with path.open("rb") as file:
                first = file.readline()
            # What can't be read is reported by whoever finishes what is left.
            with suppress(ValueError, KeyError):
                if first.endswith(b"\n") and _intent(first) == (old, new):
                    return cls.left(path)
        return None

    @classmethod
    def left(cls, path: Path) -> "RenameJournal | None":
        """Go on with a journal that a former process left; None for one without an intent.

        Raises ValueError or KeyError, with the file as it was, where it can't be understood.
        """
        with path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                path.unlink()
                return None
            log = cls(path, *_intent(first))
            try:
                log._load(file, len(first))
            except BaseException:
                log.leave()
                raise
        return log

    def _load(self, lines: Iterable[bytes], whole: int) -> None:
        for line in lines:
            if not line.endswith(b"\n"):
                os.ftruncate(self._fd, whole)
                break
            whole += len(line)
            self._replay(json.loads(line))

    def _replay(self, step: list[str]) -> None:
        if step[0] == "c":
            self.copied += 1
        elif step[0] == "d":
            self.deleting = True
        elif step[0] == "u":
            self.undoing = True
        else:
            raise ValueError(f"unknown step {step[0]!r}")

    def _say(self, steps: list[object]) -> None:
        lines = "".join(json.dumps(step) + "\n" for step in steps).encode()
        done = os.write(self._fd, lines)
        if done < len(lines):
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - done)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def note(self, source: ObjectInfo, copy: ObjectInfo) -> None:
        """A key was copied."""
        suffix = source.key[len(self.old) :]
        self._say([["c", suffix, source.etag, copy.etag, copy.modified]])
        self.copied += 1

    def note_deleting(self) -> None:
        """Everything is copied."""
        self._say([["d"]])
        self.deleting = True

    def note_undoing(self) -> None:
        """The rename failed; the copies go."""
        self._say([["u"]])
        self.undoing = True

    def entries(self) -> Iterator[Copied]:
        """Yield what was copied, in the order of the keys."""
        lines = self._lines()
        next(lines)
        for line in lines:
            step = json.loads(line)
            if step[0] == "c":
                yield Copied(*step[1:])

    def _lines(self) -> Iterator[bytes]:
        """Yield the whole lines, from the open file: its name may be gone with the directory."""
        at, rest = 0, b""
        while piece := os.pread(self._fd, READ, at):
            at += len(piece)
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole

    def leave(self) -> None:
        """Close it; it stays for the next start."""
        os.close(self._fd)

    def end(self) -> None:
        """The rename is over, one way or the other."""
        os.close(self._fd)
        self.path.unlink(missing_ok=True)


def _intent(line: bytes) -> tuple[str, str]:
    document = json.loads(line)
    versions.check(document, (VERSION,))
    return document["old"], document["new"]
