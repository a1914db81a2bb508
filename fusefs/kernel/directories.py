"""Requests about open directories: READDIR, and READDIRPLUS, which looks names up as well.

An entry that READDIRPLUS returns with attributes counts as looked up: `adopt` takes its reference
just before the record goes into the answer, and never for a record that doesn't fit.

Threading: any number of threads, one request each; no state of its own.
"""

import os
from collections.abc import Callable

from fusefs.interface import DirEntry
from fusefs.kernel import encode, wire
from fusefs.kernel.handles import open_out
from fusefs.kernel.request import EMPTY, Answer, Context, Handlers, Request
from fusefs.kernel.wire import Opcode

# Bytes of a record with a name of usual length: how many entries to ask for at once.
RECORD = wire.DIRENT.size + 24
RECORD_PLUS = RECORD + wire.ENTRY_OUT.size


class DirectoryRequests:
    """Handlers of the requests that carry a directory handle."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._calls = context.calls

    def handlers(self) -> Handlers:
        """Return this class's part of the table."""
        return {
            Opcode.OPENDIR: self._opendir,
            Opcode.READDIR: self._readdir,
            Opcode.READDIRPLUS: self._readdirplus,
            Opcode.RELEASEDIR: self._releasedir,
            Opcode.FSYNCDIR: self._fsyncdir,
        }

    def _opendir(self, request: Request) -> Answer:
        opened = self._calls.opendir(request.node)
        # A listing the kernel may keep is one it may cache, too.
        return open_out(opened, wire.FOPEN_CACHE_DIR if opened.keep_cache else 0)

    def _readdir(self, request: Request) -> Answer:
        return self._stream(request, RECORD, wire.DIRENT.size, self._plain)

    def _readdirplus(self, request: Request) -> Answer:
        head = wire.ENTRY_OUT.size + wire.DIRENT.size
        return self._stream(request, RECORD_PLUS, head, self._plus)

    def _releasedir(self, request: Request) -> Answer:
        self._calls.releasedir(wire.RELEASE_IN.unpack_from(request.body)[0])
        return EMPTY

    def _fsyncdir(self, request: Request) -> Answer:
        """Answer at once: a name is in the bucket before the call that made it returns."""
        return EMPTY

    def _stream(
        self,
        request: Request,
        expected: int,
        head: int,
        record: Callable[[int, DirEntry, bytes], bytes],
    ) -> bytes:
        """Answer from one call: the filesystem journals the last answers for a successor."""
        handle, offset, room, *_ = wire.READ_IN.unpack_from(request.body)
        answer: list[bytes] = []
        for entry in self._calls.readdir(handle, offset, room // expected + 1):
            name = os.fsencode(entry.name)
            size = wire.record_size(len(name), head)
            if size > room:
                break
            answer.append(record(request.node, entry, name))
            room -= size
        return b"".join(answer)

    def _plain(self, parent: int, entry: DirEntry, name: bytes) -> bytes:
        return encode.dirent(entry.inode or UNKNOWN_INODE, entry.offset, name, entry.mode)

    def _plus(self, parent: int, entry: DirEntry, name: bytes) -> bytes:
        known = None
        if entry.known and entry.name not in (".", ".."):
            known = self._calls.adopt(parent, entry.name)
        if known is None:
            return encode.UNKNOWN_ENTRY + self._plain(parent, entry, name)
        tail = encode.dirent(known.inode or known.node, entry.offset, name, known.mode)
        return self._context.entry(known) + tail


UNKNOWN_INODE = 0xFFFFFFFF  # FUSE_UNKNOWN_INO of libfuse; 0 would hide the entry from readers
