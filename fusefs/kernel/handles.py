"""Requests about open files.

READ answers from a buffer that the filesystem fills in place, and WRITE passes a view of the
request's buffer: no copy in either direction.

Threading: any number of threads, one request each; no state of its own.
"""

import errno
import os
from dataclasses import replace

from fusefs.errors import Invalid, Stale
from fusefs.interface import Opened
from fusefs.kernel import wire
from fusefs.kernel.backing import DIRECT
from fusefs.kernel.privileges import Privileges
from fusefs.kernel.registrations import NONE
from fusefs.kernel.request import EMPTY, Answer, Context, Handlers, Request
from fusefs.kernel.wire import Opcode

MAX_OFFSET = (1 << 63) - 1
COPY_LIMIT = 0x7FFFF000  # MAX_RW_COUNT: the most bytes of one system call; fits write_out.size


class HandleRequests:
    """Handlers of the requests that carry a file handle, and of those that open one."""

    def __init__(self, context: Context, privileges: Privileges) -> None:
        self._context = context
        self._calls = context.calls
        self._backings = context.backings
        self._privileges = privileges

    def handlers(self) -> Handlers:
        """Return this class's part of the table."""
        return {
            Opcode.OPEN: self._open,
            Opcode.CREATE: self._create,
            Opcode.READ: self._read,
            Opcode.WRITE: self._write,
            Opcode.FLUSH: self._flush,
            Opcode.FSYNC: self._fsync,
            Opcode.RELEASE: self._release,
            Opcode.FALLOCATE: self._fallocate,
            Opcode.LSEEK: self._lseek,
            Opcode.COPY_FILE_RANGE: self._copy_range,
            Opcode.COPY_FILE_RANGE_64: self._copy_range_64,
            Opcode.IOCTL: self._ioctl,
        }

    def _open(self, request: Request) -> Answer:
        flags, open_flags = wire.OPEN_IN.unpack_from(request.body)
        self._backings.check(request.kernel_id, reader=_is_reader(flags))
        if open_flags & wire.OPEN_KILL_SUIDGID:
            self._privileges.drop(request.node)
        opened = self._calls.open(request.node, flags)
        # A reader's close has nothing to do: one request less for each open.
        extra = wire.FOPEN_NOFLUSH if _is_reader(flags) else 0
        answer = self._opened(request.kernel_id, opened, flags, extra)
        if opened.changed:
            self._context.size_changed(request.kernel_id)
        return answer

    def _create(self, request: Request) -> Answer:
        flags, mode, _, open_flags = wire.CREATE_IN.unpack_from(request.body)
        name = request.name(wire.CREATE_IN.size)
        made, opened = self._calls.create(request.node, name, mode, flags, request.caller)
        if open_flags & wire.OPEN_KILL_SUIDGID:
            self._privileges.drop(made.node)
        try:
            kernel_id = self._backings.kernel_id(made.node, opened.content)
            answer = self._opened(kernel_id, opened, flags)
        except Stale:
            self._context.forget(made.node, 1)
            raise
        return self._context.entry(made) + answer

    def _opened(self, kernel_id: int, opened: Opened, flags: int, extra: int = 0) -> bytes:
        reader = _is_reader(flags)
        if opened.asked:
            may = reader and self._backings.would(kernel_id)
            whole = self._calls.begin_passthrough(opened.handle) if may else -1
            opened = replace(opened, whole_fd=whole, asked=whole >= 0)
        try:
            backing = self._backings.opened(kernel_id, opened, reader=reader)
        except Stale:
            self._calls.release(opened.handle)
            raise
        if backing not in (NONE, DIRECT):
            return wire.OPEN_OUT.pack(opened.handle, wire.FOPEN_PASSTHROUGH | extra, backing)
        if opened.asked:
            self._calls.end_passthrough(opened.handle)
        if backing == DIRECT:
            return open_out(replace(opened, keep_cache=False, direct_io=True), extra)
        if opened.keep_cache and not self._backings.keeps(kernel_id):
            opened = replace(opened, keep_cache=False)
        return open_out(opened, extra)

    def _read(self, request: Request) -> Answer:
        handle, offset, size, *_ = wire.READ_IN.unpack_from(request.body)
        _check_range(offset, size)
        view = request.scratch(size)
        return view[: self._calls.read_into(handle, offset, view)]

    def _write(self, request: Request) -> Answer:
        handle, offset, size, flags, *_ = wire.WRITE_IN.unpack_from(request.body)
        _check_range(offset, size)
        data = request.body[wire.WRITE_IN.size :]
        if len(data) != size:
            raise ValueError(f"a write of {size} bytes with {len(data)} bytes of data")
        if flags & wire.WRITE_KILL_SUIDGID:
            self._privileges.drop(request.node)
        return wire.WRITE_OUT.pack(self._calls.write(handle, offset, data), 0)

    def _flush(self, request: Request) -> Answer:
        self._calls.flush(wire.FLUSH_IN.unpack_from(request.body)[0])
        return EMPTY

    def _fsync(self, request: Request) -> Answer:
        self._calls.fsync(wire.FSYNC_IN.unpack_from(request.body)[0])
        return EMPTY

    def _release(self, request: Request) -> Answer:
        handle = wire.RELEASE_IN.unpack_from(request.body)[0]
        self._backings.released(handle, request.kernel_id)
        self._calls.release(handle)
        self._backings.forgotten(request.node, self._calls.known)  # FORGET may come before
        return EMPTY

    def _fallocate(self, request: Request) -> Answer:
        handle, offset, length, mode, _ = wire.FALLOCATE_IN.unpack_from(request.body)
        _check_range(offset, length)
        self._calls.fallocate(handle, mode, offset, length)
        return EMPTY

    def _lseek(self, request: Request) -> Answer:
        handle, offset, whence, _ = wire.LSEEK_IN.unpack_from(request.body)
        _check_range(offset, 0)
        return wire.LSEEK_OUT.pack(self._calls.lseek(handle, offset, whence))

    def _copy_range(self, request: Request) -> Answer:
        return wire.WRITE_OUT.pack(self._copied(request), 0)

    def _copy_range_64(self, request: Request) -> Answer:
        return wire.COPY_FILE_RANGE_OUT.pack(self._copied(request))

    def _copied(self, request: Request) -> int:
        source, start, _, target, target_start, length, flags = wire.COPY_FILE_RANGE_IN.unpack_from(
            request.body
        )
        if flags:
            raise Invalid(f"copy_file_range with flags {flags:#x}")
        length = min(length, COPY_LIMIT)
        _check_range(start, length)
        _check_range(target_start, length)
        return self._calls.copy_range(source, start, target, target_start, length)

    def _ioctl(self, request: Request) -> Answer:
        raise OSError(errno.ENOTTY, "ioctl is not supported")


def open_out(opened: Opened, extra: int = 0) -> bytes:
    """Lay out `fuse_open_out` for a file or directory that is read through us."""
    flags = extra
    flags |= wire.FOPEN_KEEP_CACHE if opened.keep_cache else 0
    flags |= wire.FOPEN_DIRECT_IO if opened.direct_io else 0
    return wire.OPEN_OUT.pack(opened.handle, flags, NONE)


def _is_reader(flags: int) -> bool:
    return flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_TRUNC


def _check_range(offset: int, length: int) -> None:
    if offset + length > MAX_OFFSET:
        raise Invalid(f"{length} bytes at {offset}")
