"""Files by path over a filesystem that isn't mounted: what programs do, without a kernel.

One thread at a time. Each operation is over when it returns: what was written is in the store.
"""

from __future__ import annotations

import os

from fusefs.interface import ROOT, Attributes, Caller, Change
from fusefs.mount.mount import Mounted

CALLER = Caller(1000, 1000)
BLOCK = 1 << 20


class Paths:
    """The files of one filesystem; paths have no slash at either end."""

    def __init__(self, mounted: Mounted) -> None:
        self.calls = mounted.calls

    def _node(self, path: str) -> int:
        node = ROOT
        for name in filter(None, path.split("/")):
            node = self.calls.lookup(node, name).node
        return node

    def _place(self, path: str) -> tuple[int, str]:
        directory, _, name = path.rpartition("/")
        return self._node(directory), name

    def stat(self, path: str) -> Attributes:
        """Return a file's attributes."""
        return self.calls.getattr(self._node(path))

    def create(self, path: str, content: bytes, flags: int = 0) -> None:
        """Make a file with a content."""
        wanted = os.O_WRONLY | os.O_CREAT | flags
        _, opened = self.calls.create(*self._place(path), 0o644, wanted, CALLER)
        self._write(opened.handle, 0, content)

    def append(self, path: str, content: bytes) -> None:
        """Write at the end of a file."""
        opened = self.calls.open(self._node(path), os.O_WRONLY | os.O_APPEND)
        self._write(opened.handle, 0, content)

    def patch(self, path: str, offset: int, content: bytes) -> None:
        """Write in the middle of a file."""
        self._write(self.calls.open(self._node(path), os.O_RDWR).handle, offset, content)

    def _write(self, handle: int, offset: int, content: bytes) -> None:
        try:
            for at in range(0, len(content), BLOCK):
                self.calls.write(handle, offset + at, content[at : at + BLOCK])
            self.calls.flush(handle)
        finally:
            self.calls.release(handle)

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        node = self._node(path)
        handle = self.calls.open(node, os.O_RDONLY).handle
        try:
            found = bytearray()
            view = memoryview(bytearray(BLOCK))
            while count := self.calls.read_into(handle, len(found), view):
                found += view[:count]
        finally:
            self.calls.release(handle)
        return bytes(found)

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self.calls.mkdir(*self._place(path), 0o755, CALLER)

    def chmod(self, path: str, mode: int) -> None:
        """Change permission bits."""
        self.calls.setattr(self._node(path), Change(mode=mode))

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        """Rename a file or directory."""
        self.calls.rename(*self._place(old), *self._place(new), flags)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        self.calls.unlink(*self._place(path))

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self.calls.rmdir(*self._place(path))

    def names(self, path: str = "") -> list[str]:
        """Return the names in a directory, in the order they are told."""
        handle = self.calls.opendir(self._node(path)).handle
        found: list[str] = []
        offset = 0
        while entries := self.calls.readdir(handle, offset, 100):
            found += [entry.name for entry in entries if entry.name not in (".", "..")]
            offset = entries[-1].offset
        self.calls.releasedir(handle)
        return found
