"""An append-only file of lines, in which the session's journal is stored.

Every line is in the page cache before `say` returns, so it survives kill -9. Disk space for the
next lines is preallocated, so that a cache disk filled by other processes doesn't end the journal
at once. When that is used up too, lines wait in memory, in order, until the disk accepts them: a
process killed meanwhile leaves a file that ends early, never one with a gap.

Not here: what the lines mean. Not thread-safe: its owner locks.
"""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from fusefs.disk.fallocate import reserve

log = logging.getLogger(__name__)

AHEAD = 256 << 10  # bytes taken beyond the end: thousands of lines
PIECE = 1 << 20  # bytes read at a time
FULL = (errno.ENOSPC, errno.EDQUOT)


class LineFile:
    """The file at `path`, beginning with `lines`; an existing file is replaced atomically."""

    def __init__(self, path: Path, lines: Iterable[str] = ()) -> None:
        self._path = path
        self._fd = -1
        self._reserved = 0
        self._waiting = b""
        self.size = 0
        lines = list(lines)
        try:
            self.rewrite(lines)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._go_on(anew=not lines)

    @staticmethod
    def read(path: Path) -> list[str]:
        """Return the whole lines of a file; a torn last one is left out. Empty without a file."""
        return list(LineFile.each(path))

    @staticmethod
    def each(path: Path) -> Iterator[str]:
        """Yield the same lines one by one."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            yield from _whole_lines(file)

    def lines(self, end: int | None = None) -> Iterator[str]:
        """Yield all whole lines up to byte `end`, even if the file was renamed or unlinked."""
        yield from _whole_lines(self._pieces(self.size if end is None else end))

    def _pieces(self, end: int) -> Iterator[bytes]:
        """Yield lines, the last of a piece perhaps in two."""
        start, left = 0, b""
        while start < end and (piece := self.part(start, min(PIECE, end - start))):
            start += len(piece)
            *whole, left = (left + piece).split(b"\n")
            yield from (line + b"\n" for line in whole)
        yield left

    @property
    def removed(self) -> bool:
        """Whether the file was unlinked, so that the next process can't find it."""
        return self._fd >= 0 and not os.fstat(self._fd).st_nlink

    @property
    def complete(self) -> bool:
        """Whether all lines are in the file, and none waits in memory."""
        if self._waiting:
            self._write(b"")
        return not self._waiting

    def say(self, line: str) -> None:
        """Add a line."""
        self._write(line.encode() + b"\n")

    def rewrite(self, lines: Iterable[str]) -> None:
        """Replace all lines atomically; OSError, and no change, without space for both files."""
        new = self.anew(lines)
        try:
            new.take_place(self)
        except OSError:
            new.abandon()
            raise

    def anew(self, lines: Iterable[str]) -> "NewLines":
        """Write a file that may replace this one; OSError if there is no space for both files."""
        new = NewLines(self._path)
        try:
            new.add(lines)
        except OSError:
            new.abandon()
            raise
        return new

    def part(self, start: int, most: int) -> bytes:
        """Return the lines behind byte `start`, `most` bytes at most; any thread."""
        return os.pread(self._fd, min(most, self.size - start), start)

    def replaced(self, fd: int, size: int) -> None:
        """Continue in the file that replaced this one."""
        self.close()
        self._fd, self.size, self._reserved = fd, size, size

    def _go_on(self, *, anew: bool) -> None:
        """Without space for a second file: truncate the old one after its last whole line."""
        log.error("the cache disk is full: the session's journal is not rewritten")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = self._path.read_bytes()
        self.size = self._reserved = 0 if anew else data.rfind(b"\n") + 1
        os.ftruncate(self._fd, self.size)

    def _write(self, line: bytes) -> None:
        data = self._waiting + line
        if self.size + len(data) > self._reserved - AHEAD // 2:
            self._reserve(self.size + len(data) + AHEAD)
        try:
            done = os.pwrite(self._fd, data, self.size)
        except OSError as error:
            if error.errno not in FULL:
                raise
            done = 0
        whole = data.rfind(b"\n", 0, done) + 1
        self.size += whole
        if data[whole:] and not self._waiting:
            log.error("the cache disk is full: the session's journal waits in memory")
        self._waiting = data[whole:]

    def _reserve(self, end: int) -> None:
        try:
            reserve(self._fd, self.size, end - self.size)
        except OSError:
            # No space, or a filesystem without fallocate: a write that needs space will fail.
            return
        self._reserved = end

    def close(self) -> None:
        """Close the file; it stays for the next process."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _whole_lines(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        if line.endswith(b"\n"):
            yield line[:-1].decode(errors="replace")


class NewLines:
    """A file being written to replace a `LineFile`; used by one thread."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._new = path.with_suffix(".new")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(self._new, flags, 0o600)

    def add(self, lines: Iterable[str]) -> None:
        """Write lines, some thousand at a time."""
        left = iter(lines)
        while part := "".join(f"{line}\n" for line in islice(left, 4096)):
            self.add_raw(part.encode())

    def add_raw(self, data: bytes) -> None:
        """Write lines as they are in a file."""
        done = 0
        while done < len(data):
            done += os.write(self._fd, data[done:])
        self.size += done

    def take_place(self, old: LineFile) -> None:
        """Replace the file; its owner holds its lock."""
        self._new.rename(self._path)
        old.replaced(self._fd, self.size)

    def abandon(self) -> None:
        """Remove the new file; the old one stays as it is."""
        os.close(self._fd)
        self._new.unlink(missing_ok=True)
