"""The journal of the nodes and handles that the kernel holds, for the next process.

After a worker's death the kernel keeps its node ids, its handles and its positions in directories.
The next worker reads them here. It is a text file of one record a line, each written before the
kernel is answered; a torn last line was never answered.

    s VERSION                  first line: the format version; without it version 1
    n ID PARENT KIND NAME      node made; KIND is d or f, NAME in JSON
    m ID PARENT NAME           node renamed
    x ID                       node unlinked; it stays while it is open
    f ID                       node forgotten
    o HANDLE ID FLAGS REQUEST VERSION
                               opened; VERSION is [key, etag, size] in JSON, or null: not in S3;
                               said again where FLAGS get or lose PASSTHROUGH
    v ID OLD VERSION           our commit or copy replaced version OLD (an ETag or -) by VERSION
    d HANDLE ID REQUEST        directory opened
    r HANDLE TOLD              entries that readdir returned, [[cookie, name], …]; a directory's
                               name ends in `/`
    c HANDLE                   file or directory closed
    q REQUEST STAMP            a request will create a node with these times, in nanoseconds
    i ID HANDLE                the highest numbers so far: no number is used twice

REQUEST is the kernel's unique number, by which it resends a request. Not here: the content
of changed files (`staged`), the file itself (`linefile`). Any thread; `_lock` is a leaf and is held
over one write(2) to a local file.
"""

import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

from fusefs import locks, resend
from fusefs.disk.linefile import LineFile
from fusefs.locks import Rank
from fusefs.session.compaction import Compaction

log = logging.getLogger(__name__)

VERSION = 1
# A flag of no open(2): the kernel reads the cache file of this version by itself, whatever is
# written to the file meanwhile. Not noted where no file can be written.
PASSTHROUGH = 1 << 30
# More than the number of requests the kernel can have waiting for an answer.
STAMPS_KEPT = 256

Answer = Sequence[tuple[int, str]]  # cookies and names


@dataclass(slots=True)
class LoggedNode:
    """A node of the former process."""

    parent: int
    directory: bool
    name: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class LoggedVersion:
    """The version of an object that a file handle was bound to."""

    key: str
    etag: str
    size: int


@dataclass(slots=True)
class LoggedFile:
    """An open file of the former process; `version` is None for a file that wasn't in S3."""

    node: int
    flags: int
    version: LoggedVersion | None
    request: int = 0


@dataclass(slots=True)
class LoggedDirectory:
    """An open directory; `answers` holds the entries of the last two."""

    node: int
    request: int = 0
    answers: list[list[tuple[int, str]]] = field(default_factory=list)


@dataclass(slots=True)
class SessionState:
    """The nodes, handles and times that existed when the former process ended."""

    nodes: dict[int, LoggedNode] = field(default_factory=dict)
    files: dict[int, LoggedFile] = field(default_factory=dict)
    directories: dict[int, LoggedDirectory] = field(default_factory=dict)
    stamps: dict[int, int] = field(default_factory=dict)
    last_node: int = 0
    last_handle: int = 0

    def apply(self, line: str) -> None:
        """Apply one record; raises ValueError or KeyError for a malformed one."""
        kind, _, rest = line.partition(" ")
        if kind in ("n", "m", "x", "f"):
            self._apply_node(kind, rest)
        elif kind in ("o", "d"):
            self._apply_opened(kind, rest)
        elif kind == "q":
            request, stamp = rest.split(" ")
            self.stamps[int(request)] = int(stamp)
            while len(self.stamps) > STAMPS_KEPT:
                self.stamps.pop(next(iter(self.stamps)))
        elif kind == "i":
            node, handle = rest.split(" ")
            self._used(int(node), int(handle))
        else:
            self._apply_handle(kind, rest)

    def _used(self, node: int, handle: int) -> None:
        self.last_node = max(self.last_node, node)
        self.last_handle = max(self.last_handle, handle)

    def _apply_node(self, kind: str, rest: str) -> None:
        if kind == "n":
            node, parent, what, name = rest.split(" ", 3)
            self.nodes[int(node)] = LoggedNode(int(parent), what == "d", _name(json.loads(name)))
            self._used(int(node), 0)
        elif kind == "m":
            node, parent, name = rest.split(" ", 2)
            found = self.nodes[int(node)]
            found.parent, found.name, found.gone = int(parent), _name(json.loads(name)), False
        elif kind == "x":
            self.nodes[int(rest)].gone = True
        else:
            self.nodes.pop(int(rest), None)

    def _apply_opened(self, kind: str, rest: str) -> None:
        if kind == "o":
            handle, node, flags, request, version = rest.split(" ", 4)
            opened = LoggedFile(int(node), int(flags), _version(version), int(request))
            self.files[int(handle)] = opened
        else:
            handle, node, request = rest.split(" ")
            self.directories[int(handle)] = LoggedDirectory(int(node), int(request))
        self._used(0, int(handle))

    def _apply_handle(self, kind: str, rest: str) -> None:
        if kind == "v":
            node, old, version = rest.split(" ", 2)
            for file in self.files.values():
                etag = file.version.etag if file.version is not None else "-"
                if file.node == int(node) and etag == old and not file.flags & PASSTHROUGH:
                    file.version = _version(version)
        elif kind == "r":
            handle, entries = rest.split(" ", 1)
            answer = [(int(cookie), _name(name)) for cookie, name in json.loads(entries)]
            # The kernel may ask again for the answer before the last one, for no older one.
            last = self.directories[int(handle)].answers
            last[:] = [*last[-1:], answer]
        elif kind == "c":
            self.files.pop(int(rest), None)
            self.directories.pop(int(rest), None)
        else:
            raise ValueError(f"unknown record {kind!r}")

    def lines(self) -> Iterable[str]:
        """Yield the records that make this state."""
        yield f"s {VERSION}"
        yield f"i {self.last_node} {self.last_handle}"
        for request, stamp in self.stamps.items():
            yield f"q {request} {stamp}"
        for number, node in self.nodes.items():
            what = "d" if node.directory else "f"
            yield f"n {number} {node.parent} {what} {json.dumps(node.name)}"
            if node.gone:
                yield f"x {number}"
        for handle, file in self.files.items():
            version = _version_text(file.version)
            yield f"o {handle} {file.node} {file.flags} {file.request} {version}"
        for handle, directory in self.directories.items():
            yield f"d {handle} {directory.node} {directory.request}"
            yield from (f"r {handle} {json.dumps(answer)}" for answer in directory.answers)


def _understood(path: Path, first: str) -> bool:
    """Check the format version; a log of an unknown one is moved aside and kept."""
    if not first.startswith("s ") or first == f"s {VERSION}":
        return True
    aside = path.with_name(f"{path.name}.unknown-{time.time_ns()}")
    path.rename(aside)
    log.error(
        "the session's journal has an unknown version and is kept; open files answer ESTALE",
        extra={"file": str(aside), "version": first[2:]},
    )
    return False


def _state(path: Path, lines: Iterable[str]) -> SessionState:
    state = SessionState()
    damaged = 0
    left = iter(lines)
    first = next(left, "")
    for line in left if first in ("", f"s {VERSION}") else chain([first], left):
        try:
            state.apply(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged += 1
    if damaged:
        log.error(
            "the session's journal is damaged; nodes and handles that it lost answer ESTALE",
            extra={"file": str(path), "lines": damaged},
        )
    return state


def _name(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError("a name is a text")  # noqa: TRY004 - one error for what makes no sense
    return text


def _version(text: str) -> LoggedVersion | None:
    fields = json.loads(text)
    if fields is None:
        return None
    key, etag, size = fields
    return LoggedVersion(_name(key), _name(etag), int(size))


def _version_text(version: LoggedVersion | None) -> str:
    return json.dumps([version.key, version.etag, version.size] if version is not None else None)


class SessionJournal(Protocol):
    """The events that tree, open files and directory streams record."""

    def made(self, node: int, parent: int, directory: bool, name: str) -> None: ...

    def moved(self, node: int, parent: int, name: str) -> None: ...

    def gone(self, node: int) -> None: ...

    def forgotten(self, node: int) -> None: ...

    def opened(self, handle: int, node: int, flags: int, version: LoggedVersion | None) -> None: ...

    def became(self, node: int, old: str | None, version: LoggedVersion) -> None: ...

    def opened_directory(self, handle: int, node: int) -> None: ...

    def answered(self, handle: int, entries: Answer) -> None: ...

    def closed(self, handle: int) -> None: ...

    def begun(self) -> int:
        """Record and return the times, in ns, of the node that this request will create."""

    def begun_before(self) -> int | None:
        """Return the timestamp a previous worker logged for this request, or None."""


class NoSessionJournal:
    """For drivers whose mount ends with their process."""

    def made(self, node: int, parent: int, directory: bool, name: str) -> None:
        """Record nothing."""

    def moved(self, node: int, parent: int, name: str) -> None:
        """Record nothing."""

    def gone(self, node: int) -> None:
        """Record nothing."""

    def forgotten(self, node: int) -> None:
        """Record nothing."""

    def opened(self, handle: int, node: int, flags: int, version: LoggedVersion | None) -> None:
        """Record nothing."""

    def became(self, node: int, old: str | None, version: LoggedVersion) -> None:
        """Record nothing."""

    def opened_directory(self, handle: int, node: int) -> None:
        """Record nothing."""

    def answered(self, handle: int, entries: Answer) -> None:
        """Record nothing."""

    def closed(self, handle: int) -> None:
        """Record nothing."""

    def begun(self) -> int:
        """Return the current time; nothing is recorded."""
        return time.time_ns()

    def begun_before(self) -> int | None:
        """Return None: there was no previous process."""
        return None


class SessionLog:
    """The journal in a file."""

    def __init__(self, path: Path, state: SessionState) -> None:
        """Begin with the records of `state`; the file is replaced atomically."""
        self._path = path
        self._lock = locks.lock(Rank.LEAF)
        self._stamps = dict(state.stamps)
        _understood(path, next(LineFile.each(path), ""))  # one that isn't is not replaced
        self._file = LineFile(path, state.lines())
        self._compaction = Compaction(
            self._file, self._lock, lambda end: _state(path, self._file.lines(end)).lines()
        )

    @staticmethod
    def read(path: Path) -> SessionState:
        """Return the state that a former process left; empty if there is no log.

        Malformed records are skipped and logged: their nodes and handles answer ESTALE.
        """
        lines = LineFile.each(path)
        first = next(lines, "")
        return _state(path, chain([first], lines)) if _understood(path, first) else SessionState()

    def trouble(self) -> str:
        """Return why the next process could not resume all nodes and handles; "" if it could."""
        with self._lock:
            complete = self._file.complete
            removed = self._file.removed
        if removed:
            return "the session's journal was removed: a restart would lose open files"
        return "" if complete else "the cache disk is full: a restart would lose open files"

    def _say(self, line: str) -> None:
        with self._lock:
            self._file.say(line)
            self._compaction.grown()

    def made(self, node: int, parent: int, directory: bool, name: str) -> None:
        """A node was created."""
        self._say(f"n {node} {parent} {'d' if directory else 'f'} {json.dumps(name)}")

    def moved(self, node: int, parent: int, name: str) -> None:
        """A node was renamed."""
        self._say(f"m {node} {parent} {json.dumps(name)}")

    def gone(self, node: int) -> None:
        """A node was unlinked."""
        self._say(f"x {node}")

    def forgotten(self, node: int) -> None:
        """The kernel forgot a node."""
        self._say(f"f {node}")

    def opened(self, handle: int, node: int, flags: int, version: LoggedVersion | None) -> None:
        """A file was opened."""
        self._say(f"o {handle} {node} {flags} {resend.unique()} {_version_text(version)}")

    def became(self, node: int, old: str | None, version: LoggedVersion) -> None:
        """Our own request replaced the version of an open file."""
        self._say(f"v {node} {old or '-'} {_version_text(version)}")

    def opened_directory(self, handle: int, node: int) -> None:
        """A directory was opened."""
        self._say(f"d {handle} {node} {resend.unique()}")

    def answered(self, handle: int, entries: Answer) -> None:
        """A directory stream returned these entries in one answer."""
        self._say(f"r {handle} {json.dumps(entries)}")

    def closed(self, handle: int) -> None:
        """A file or directory was closed."""
        self._say(f"c {handle}")

    def begun(self) -> int:
        """Record a creation's time and return it; a resent request gets its first time."""
        before = self.begun_before()
        if before is not None:
            return before
        now = time.time_ns()
        self._say(f"q {resend.unique()} {now}")
        return now

    def begun_before(self) -> int | None:
        """Return the time of a request's first attempt, None if none was logged."""
        return self._stamps.get(resend.unique()) if resend.is_resent() else None

    def close(self) -> None:
        """Close the file; it stays for the next process."""
        self._compaction.wait()
        with self._lock:
            self._file.close()
