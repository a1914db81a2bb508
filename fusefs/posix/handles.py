"""The open file handles of a mount, found by number, by content and by node.

Opening and closing take as long with 10 000 handles as with one. Any thread; `_lock` is a leaf.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from fusefs import locks
from fusefs.errors import BadHandle
from fusefs.locks import Rank
from fusefs.names.tree import Node
from fusefs.read.readahead import ReadAhead
from fusefs.write.filecontent import FileContent


@dataclass(eq=False)
class Handle:
    """One open file description of the kernel."""

    node: Node
    body: FileContent
    flags: int
    writes: bool  # whether it was opened for writing
    stream: ReadAhead | None = None
    passthrough: bool = False  # the kernel reads the cache file by itself, where files are written


class HandleTable:
    """All open handles; numbers are used once, for files and directories together."""

    def __init__(self) -> None:
        self._handles: dict[int, Handle] = {}
        self._bodies: dict[Node, dict[FileContent, int]] = {}  # handles on each of its contents
        self._writers: dict[FileContent, int] = {}
        self._passthrough: dict[FileContent, int] = {}
        self.passthrough_bytes = 0  # of all contents that the kernel reads by itself
        self._next = itertools.count(1)
        self._lock = locks.lock(Rank.LEAF)

    def __contains__(self, number: object) -> bool:
        return number in self._handles

    def get(self, number: int | None) -> Handle | None:
        """Return an open handle."""
        return self._handles.get(number) if number is not None else None

    def opened(self, number: int) -> Handle:
        """Return an open handle; raises BadHandle."""
        handle = self._handles.get(number)
        if handle is None:
            raise BadHandle(f"file handle {number} is not open")
        return handle

    def number(self) -> int:
        """Return a number that wasn't used before."""
        with self._lock:
            return next(self._next)

    def start_after(self, number: int) -> None:
        """Give no handle a number up to this one."""
        self._next = itertools.count(number + 1)

    def add(self, number: int, handle: Handle) -> bool:
        """Add a handle; return whether its node is open with another content, too."""
        with self._lock:
            self._handles[number] = handle
            bodies = self._bodies.setdefault(handle.node, {})
            bodies[handle.body] = bodies.get(handle.body, 0) + 1
            if handle.writes:
                _count(self._writers, handle.body, 1)
            if handle.passthrough:
                self._pass_through(handle.body, 1)
            return len(bodies) > 1

    def remove(self, number: int) -> Handle | None:
        """Remove a handle; None where there is none."""
        with self._lock:
            handle = self._handles.pop(number, None)
            if handle is None:
                return None
            bodies = self._bodies[handle.node]
            bodies[handle.body] -= 1
            if not bodies[handle.body]:
                del bodies[handle.body]
            if not bodies:
                del self._bodies[handle.node]
            if handle.writes:
                _count(self._writers, handle.body, -1)
            if handle.passthrough:
                self._pass_through(handle.body, -1)
            return handle

    def begin_passthrough(self, number: int) -> bool:
        """Mark a reader as passthrough; False where its content is written or has changes."""
        with self._lock:
            handle = self._handles.get(number)
            if handle is None or handle.body in self._writers or handle.body.dirty:
                return False
            if not handle.passthrough:
                handle.passthrough = True
                self._pass_through(handle.body, 1)
            return True

    def end_passthrough(self, number: int) -> Handle | None:
        """Take the mark away; return the handle if it had it."""
        with self._lock:
            handle = self._handles.get(number)
            if handle is None or not handle.passthrough:
                return None
            handle.passthrough = False
            self._pass_through(handle.body, -1)
            return handle

    def in_passthrough(self, body: FileContent) -> bool:
        """Say whether the kernel reads a content by itself, for a handle of it at least."""
        return body in self._passthrough

    def _pass_through(self, body: FileContent, change: int) -> None:
        before = body in self._passthrough
        _count(self._passthrough, body, change)
        # Nobody writes such a content, so its size stays.
        self.passthrough_bytes += body.size * ((body in self._passthrough) - before)

    def uses(self, node: Node, body: FileContent) -> bool:
        """Say whether a handle of a node has this content open."""
        with self._lock:
            return body in self._bodies.get(node, ())

    def nodes(self) -> Mapping[int, int]:
        """Return the open handles, each with its node."""
        with self._lock:
            return {number: handle.node.id for number, handle in self._handles.items()}

    def contents(self) -> Mapping[int, int]:
        """Return the handles that are read and written through us, each with its content."""
        with self._lock:
            return {
                number: handle.body.number
                for number, handle in self._handles.items()
                if not handle.passthrough
            }


def _count(counts: dict[FileContent, int], body: FileContent, change: int) -> None:
    counts[body] = counts.get(body, 0) + change
    if not counts[body]:
        del counts[body]
