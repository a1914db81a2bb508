"""Requests that make, remove or move a name.

Threading: any number of threads, one request each; no state of its own.
"""

from fusefs.kernel import wire
from fusefs.kernel.backing import NODE_MASK
from fusefs.kernel.request import EMPTY, Answer, Context, Handlers, Request
from fusefs.kernel.wire import Opcode


class EntryRequests:
    """Handlers of the requests that change a directory."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._calls = context.calls

    def handlers(self) -> Handlers:
        """Return this class's part of the table."""
        return {
            Opcode.MKNOD: self._mknod,
            Opcode.MKDIR: self._mkdir,
            Opcode.UNLINK: self._unlink,
            Opcode.RMDIR: self._rmdir,
            Opcode.SYMLINK: self._symlink,
            Opcode.RENAME: self._rename,
            Opcode.RENAME2: self._rename2,
            Opcode.LINK: self._link,
        }

    def _mknod(self, request: Request) -> Answer:
        mode, rdev, _, _ = wire.MKNOD_IN.unpack_from(request.body)
        name = request.name(wire.MKNOD_IN.size)
        made = self._calls.mknod(request.node, name, mode, rdev, request.caller)
        return self._context.entry(made)

    def _mkdir(self, request: Request) -> Answer:
        mode, _ = wire.MKDIR_IN.unpack_from(request.body)
        name = request.name(wire.MKDIR_IN.size)
        return self._context.entry(self._calls.mkdir(request.node, name, mode, request.caller))

    def _unlink(self, request: Request) -> Answer:
        self._calls.unlink(request.node, request.name())
        return EMPTY

    def _rmdir(self, request: Request) -> Answer:
        self._calls.rmdir(request.node, request.name())
        return EMPTY

    def _symlink(self, request: Request) -> Answer:
        name, target = request.names(2)
        made = self._calls.symlink(request.node, name, target, request.caller)
        return self._context.entry(made)

    def _rename(self, request: Request) -> Answer:
        (new_parent,) = wire.RENAME_IN.unpack_from(request.body)
        return self._move(request, new_parent, wire.RENAME_IN.size, 0)

    def _rename2(self, request: Request) -> Answer:
        new_parent, flags, _ = wire.RENAME2_IN.unpack_from(request.body)
        return self._move(request, new_parent, wire.RENAME2_IN.size, flags)

    def _move(self, request: Request, new_parent: int, start: int, flags: int) -> Answer:
        name, new_name = request.names(2, start)
        self._calls.rename(request.node, name, new_parent & NODE_MASK, new_name, flags)
        return EMPTY

    def _link(self, request: Request) -> Answer:
        (node,) = wire.LINK_IN.unpack_from(request.body)
        name = request.name(wire.LINK_IN.size)
        return self._context.entry(self._calls.link(node & NODE_MASK, request.node, name))
