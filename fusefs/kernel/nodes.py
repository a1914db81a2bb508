"""Requests about one node: lookup and forget, attributes, symlink targets, xattrs, statfs.

Threading: any number of threads, one request each; no state of its own.
"""

import errno
import os
import time
from dataclasses import replace

from fusefs.errors import Invalid, NotFound, Stale
from fusefs.interface import Attributes, Change
from fusefs.kernel import encode, wire
from fusefs.kernel.backing import NODE_MASK
from fusefs.kernel.privileges import Privileges
from fusefs.kernel.request import EMPTY, Answer, Context, Handlers, Request
from fusefs.kernel.wire import Init, Opcode

MAX_OFFSET = (1 << 63) - 1
OWNER = wire.FATTR_UID | wire.FATTR_GID


class NodeRequests:
    """Handlers of the requests that name a node only."""

    def __init__(self, context: Context, privileges: Privileges) -> None:
        self._context = context
        self._calls = context.calls
        self._privileges = privileges
        extended = context.negotiated.has(Init.SETXATTR_EXT)
        self._setxattr_in = wire.SETXATTR_IN if extended else wire.SETXATTR_IN_COMPAT

    def handlers(self) -> Handlers:
        """Return this class's part of the table."""
        return {
            Opcode.LOOKUP: self._lookup,
            Opcode.FORGET: self._forget,
            Opcode.BATCH_FORGET: self._batch_forget,
            Opcode.GETATTR: self._getattr,
            Opcode.STATX: self._statx,
            Opcode.SETATTR: self._setattr,
            Opcode.READLINK: self._readlink,
            Opcode.STATFS: self._statfs,
            Opcode.SYNCFS: self._syncfs,
            Opcode.SETXATTR: self._setxattr,
            Opcode.GETXATTR: self._getxattr,
            Opcode.LISTXATTR: self._listxattr,
            Opcode.REMOVEXATTR: self._removexattr,
        }

    def _lookup(self, request: Request) -> Answer:
        try:
            return self._context.entry(self._calls.lookup(request.node, request.name()))
        except NotFound:
            if self._context.negative_ttl > 0:
                return encode.no_entry_out(self._context.negative_ttl)
            raise

    def _forget(self, request: Request) -> Answer:
        self._context.forget(request.node, *wire.FORGET_IN.unpack_from(request.body))
        return None

    def _batch_forget(self, request: Request) -> Answer:
        count, _ = wire.BATCH_FORGET_IN.unpack_from(request.body)
        start, step = wire.BATCH_FORGET_IN.size, wire.FORGET_ONE.size
        records = request.body[start : start + count * step]
        for kernel_id, lookups in wire.FORGET_ONE.iter_unpack(records):
            self._context.forget(kernel_id & NODE_MASK, lookups)
        return None

    def _getattr(self, request: Request) -> Answer:
        flags, _, handle = wire.GETATTR_IN.unpack_from(request.body)
        handle = handle if flags & wire.GETATTR_FH else None
        return encode.attr_out(self._attributes(request, handle), request.kernel_id)

    def _statx(self, request: Request) -> Answer:
        flags, _, handle, _, _ = wire.STATX_IN.unpack_from(request.body)
        handle = handle if flags & wire.GETATTR_FH else None
        return encode.statx_out(self._attributes(request, handle), request.kernel_id)

    def _attributes(self, request: Request, handle: int | None) -> Attributes:
        """Return attributes of the content open under this kernel id."""
        if handle is None:
            handle = self._context.backings.handle_of(request.kernel_id)
        return self._calls.getattr(request.node, handle)

    def _setattr(self, request: Request) -> Answer:
        fields = wire.SETATTR_IN.unpack_from(request.body)
        valid, handle = fields[0], fields[2]
        change = _change(fields)
        if change.mode is not None:
            self._privileges.mode_changed(request.node)
        elif valid & (OWNER | wire.FATTR_KILL_SUIDGID):
            change = replace(change, mode=self._privileges.mode_without(request.node))
        handle = handle if valid & wire.FATTR_FH else None
        after = self._calls.setattr(request.node, change, handle)
        if not self._context.backings.holds(request.kernel_id, after.content):
            if handle is None:
                # What was changed is another version than the one open under this id: the kernel
                # looks the name up again and repeats the change there, so it is seen at once.
                raise Stale("changed under its name, which has another id by now")
            after = self._attributes(request, handle)
        return encode.attr_out(after, request.kernel_id)

    def _readlink(self, request: Request) -> Answer:
        return os.fsencode(self._calls.readlink(request.node))

    def _statfs(self, request: Request) -> Answer:
        return encode.statfs_out(self._calls.statfs())

    def _syncfs(self, request: Request) -> Answer:
        self._calls.syncfs()
        return EMPTY

    def _setxattr(self, request: Request) -> Answer:
        size, flags = self._setxattr_in.unpack_from(request.body)[:2]
        start = self._setxattr_in.size
        raw = bytes(request.body[start:])
        end = raw.index(b"\0") + 1
        value = raw[end : end + size]
        if len(value) != size:
            raise ValueError(f"an xattr of {size} bytes truncated to {len(value)}")
        self._calls.setxattr(request.node, request.name(start), value, flags)
        self._privileges.mode_changed(request.node)  # an ACL carries mode bits
        return EMPTY

    def _getxattr(self, request: Request) -> Answer:
        size, _ = wire.GETXATTR_IN.unpack_from(request.body)
        name = request.name(wire.GETXATTR_IN.size)
        return _sized(self._calls.getxattr(request.node, name), size)

    def _listxattr(self, request: Request) -> Answer:
        size, _ = wire.GETXATTR_IN.unpack_from(request.body)
        names = self._calls.listxattr(request.node)
        return _sized(b"".join(os.fsencode(name) + b"\0" for name in names), size)

    def _removexattr(self, request: Request) -> Answer:
        self._calls.removexattr(request.node, request.name())
        return EMPTY


def _sized(value: bytes, room: int) -> bytes:
    """Answer with the value, or with its size if the caller's buffer has size 0."""
    if not room:
        return wire.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > room:
        raise OSError(errno.ERANGE, "larger than the caller's buffer")
    return value


def _change(fields: tuple[int, ...]) -> Change:
    """Decode the fields of `fuse_setattr_in` that `valid` names."""
    valid, size, mode, uid, gid = fields[0], fields[3], fields[11], fields[13], fields[14]
    if valid & wire.FATTR_SIZE and size > MAX_OFFSET:
        raise Invalid(f"a file size of {size}")
    now = time.time_ns()
    times = [fields[5 + i] * encode.SECOND + fields[8 + i] for i in range(3)]
    atime = now if valid & wire.FATTR_ATIME_NOW else times[0]
    mtime = now if valid & wire.FATTR_MTIME_NOW else times[1]
    return Change(
        mode=mode if valid & wire.FATTR_MODE else None,
        uid=uid if valid & wire.FATTR_UID else None,
        gid=gid if valid & wire.FATTR_GID else None,
        size=size if valid & wire.FATTR_SIZE else None,
        atime_ns=atime if valid & wire.FATTR_ATIME else None,
        mtime_ns=mtime if valid & wire.FATTR_MTIME else None,
        ctime_ns=times[2] if valid & wire.FATTR_CTIME else None,
    )
