"""The journal that lets the next process go on with what the kernel holds: nodes and handles.

After a worker's death the kernel keeps its node ids, its handles and its places in directories. The
log tells them to the next worker. It is a text file of one record a line, each written before the
kernel is answered; a torn last line is something the kernel was never told.

    n ID PARENT KIND NAME      node made; KIND is d or f, NAME in JSON
    m ID PARENT NAME           node has another place
    x ID                       node's name is gone; it lives on while it is open
    f ID                       node forgotten
    o HANDLE ID FLAGS VERSION  file opened; VERSION is [key, etag, size] in JSON, or null: not in S3
    v ID OLD VERSION           our own commit or copy turned version OLD (an ETag or -) into VERSION
    d HANDLE ID                directory opened
    r HANDLE COOKIE NAME       entries up to here were told (NAME in JSON, with `/` for a directory)
    c HANDLE                   file or directory closed

Not here: the content of changed files (`staged`). Any thread; `_lock` is a leaf and is held over
one write(2) to a local file.
"""

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

COMPACT_AT = 8 << 20  # bytes; what is alive is usually far less


@dataclass(slots=True)
class LoggedNode:
    """A node as it was."""

    parent: int
    directory: bool
    name: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """The object a file handle was bound to."""

    key: str
    etag: str
    size: int


@dataclass(slots=True)
class LoggedFile:
    """An open file as it was; `version` is None for a file that wasn't in S3."""

    node: int
    flags: int
    version: Version | None


@dataclass(slots=True)
class LoggedDirectory:
    """An open directory; `told` maps the cookies of the last answers to names."""

    node: int
    told: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class SessionState:
    """All that was alive when the former process ended."""

    nodes: dict[int, LoggedNode] = field(default_factory=dict)
    files: dict[int, LoggedFile] = field(default_factory=dict)
    directories: dict[int, LoggedDirectory] = field(default_factory=dict)

    def apply(self, line: str) -> None:
        """Take over one record; raises ValueError for one that isn't."""
        kind, _, rest = line.partition(" ")
        if kind == "n":
            node, parent, what, name = rest.split(" ", 3)
            self.nodes[int(node)] = LoggedNode(int(parent), what == "d", json.loads(name))
        elif kind == "m":
            node, parent, name = rest.split(" ", 2)
            found = self.nodes[int(node)]
            found.parent, found.name, found.gone = int(parent), json.loads(name), False
        elif kind == "x":
            self.nodes[int(rest)].gone = True
        elif kind == "f":
            self.nodes.pop(int(rest), None)
        else:
            self._apply_handle(kind, rest)

    def _apply_handle(self, kind: str, rest: str) -> None:
        if kind == "o":
            handle, node, flags, version = rest.split(" ", 3)
            self.files[int(handle)] = LoggedFile(int(node), int(flags), _version(version))
        elif kind == "v":
            node, old, version = rest.split(" ", 2)
            for file in self.files.values():
                etag = file.version.etag if file.version is not None else "-"
                if file.node == int(node) and etag == old:
                    file.version = _version(version)
        elif kind == "d":
            handle, node = rest.split(" ")
            self.directories[int(handle)] = LoggedDirectory(int(node))
        elif kind == "r":
            handle, cookie, name = rest.split(" ", 2)
            told = self.directories[int(handle)].told
            # The answer before the last one may be asked for again, no older one.
            while len(told) > 1:
                told.pop(next(iter(told)))
            told[int(cookie)] = json.loads(name)
        elif kind == "c":
            self.files.pop(int(rest), None)
            self.directories.pop(int(rest), None)
        else:
            raise ValueError(f"unknown record {kind!r}")

    def lines(self) -> list[str]:
        """Return the records that make this state."""
        out = []
        for number, node in self.nodes.items():
            what = "d" if node.directory else "f"
            out.append(f"n {number} {node.parent} {what} {json.dumps(node.name)}")
            if node.gone:
                out.append(f"x {number}")
        for handle, file in self.files.items():
            out.append(f"o {handle} {file.node} {file.flags} {_version_text(file.version)}")
        for handle, directory in self.directories.items():
            out.append(f"d {handle} {directory.node}")
            out += [f"r {handle} {at} {json.dumps(name)}" for at, name in directory.told.items()]
        return out


def _version(text: str) -> Version | None:
    told = json.loads(text)
    return Version(*told) if told is not None else None


def _version_text(version: Version | None) -> str:
    return json.dumps([version.key, version.etag, version.size] if version is not None else None)


class Journal(Protocol):
    """What the tree, files and directory streams say."""

    def made(self, node: int, parent: int, directory: bool, name: str) -> None: ...

    def moved(self, node: int, parent: int, name: str) -> None: ...

    def gone(self, node: int) -> None: ...

    def forgotten(self, node: int) -> None: ...

    def opened(self, handle: int, node: int, flags: int, version: Version | None) -> None: ...

    def became(self, node: int, old: str | None, version: Version) -> None: ...

    def opened_directory(self, handle: int, node: int) -> None: ...

    def told(self, handle: int, cookie: int, name: str) -> None: ...

    def closed(self, handle: int) -> None: ...


class NoJournal:
    """For drivers whose mount ends with their process."""

    def made(self, node: int, parent: int, directory: bool, name: str) -> None:
        """Say nothing."""

    def moved(self, node: int, parent: int, name: str) -> None:
        """Say nothing."""

    def gone(self, node: int) -> None:
        """Say nothing."""

    def forgotten(self, node: int) -> None:
        """Say nothing."""

    def opened(self, handle: int, node: int, flags: int, version: Version | None) -> None:
        """Say nothing."""

    def became(self, node: int, old: str | None, version: Version) -> None:
        """Say nothing."""

    def opened_directory(self, handle: int, node: int) -> None:
        """Say nothing."""

    def told(self, handle: int, cookie: int, name: str) -> None:
        """Say nothing."""

    def closed(self, handle: int) -> None:
        """Say nothing."""


class SessionLog:
    """The journal in a file."""

    def __init__(self, path: Path, state: SessionState) -> None:
        """Begin with what `state` says; the file is replaced at once, never half."""
        self._path = path
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._rewrite(state)

    @staticmethod
    def read(path: Path) -> SessionState:
        """Return what a former process left; empty where there is no log."""
        state = SessionState()
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return state
        for line in text.split("\n")[:-1]:
            state.apply(line)
        return state

    def _rewrite(self, state: SessionState) -> None:
        new = self._path.with_suffix(".new")
        data = "".join(line + "\n" for line in state.lines()).encode()
        new.write_bytes(data)
        fd = os.open(new, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        new.rename(self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, len(data)

    def _say(self, line: str) -> None:
        data = (line + "\n").encode()
        with self._lock:
            os.write(self._fd, data)
            self._size += len(data)
            if self._size > COMPACT_AT:
                self._compact()

    def _compact(self) -> None:
        self._rewrite(self.read(self._path))
        # Where all of it is alive, the next time is when it has doubled.
        self._size = min(self._size, COMPACT_AT // 2)

    def made(self, node: int, parent: int, directory: bool, name: str) -> None:
        """A node was made."""
        self._say(f"n {node} {parent} {'d' if directory else 'f'} {json.dumps(name)}")

    def moved(self, node: int, parent: int, name: str) -> None:
        """A node has another place."""
        self._say(f"m {node} {parent} {json.dumps(name)}")

    def gone(self, node: int) -> None:
        """A node lost its name."""
        self._say(f"x {node}")

    def forgotten(self, node: int) -> None:
        """The kernel doesn't know a node any more."""
        self._say(f"f {node}")

    def opened(self, handle: int, node: int, flags: int, version: Version | None) -> None:
        """A file was opened."""
        self._say(f"o {handle} {node} {flags} {_version_text(version)}")

    def became(self, node: int, old: str | None, version: Version) -> None:
        """Our own request turned one version of an open file into another."""
        self._say(f"v {node} {old or '-'} {_version_text(version)}")

    def opened_directory(self, handle: int, node: int) -> None:
        """A directory was opened."""
        self._say(f"d {handle} {node}")

    def told(self, handle: int, cookie: int, name: str) -> None:
        """A directory stream was told up to this entry."""
        self._say(f"r {handle} {cookie} {json.dumps(name)}")

    def closed(self, handle: int) -> None:
        """A file or directory was closed."""
        self._say(f"c {handle}")

    def close(self) -> None:
        """Close the file; it stays for the next process."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """The mount is gone: nothing is left to go on with."""
        self.close()
        self._path.unlink(missing_ok=True)
