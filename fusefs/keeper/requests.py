"""What a worker may ask of the mounts that are kept for it, each request with its answer.

Not here: connections (`connections`), the wire format (`protocol`), when a mount is made or ended
without being asked for (`keeper`, or the node's plugin).

Standard library only. One thread: that of the connections.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable

from fusefs.keeper import protocol
from fusefs.keeper.keptmount import KeptMount, is_connection, log
from fusefs.keeper.protocol import Message
from fusefs.kernel import mountcalls

MOST_BACKINGS = 1024  # registrations per mount; each keeps a file open in the kernel


class RefusedRequest(OSError):
    """A refused request; errno and message go to the peer."""


class MountRequests:
    """Carries out the requests of one worker's user on the mounts of one pod."""

    def __init__(
        self,
        mounts: dict[str, KeptMount],
        worker_uid: int,
        changed: Callable[[KeptMount], None] = lambda _: None,
    ) -> None:
        """`mounts` is the caller's own and may change; `changed` gets each mount that has."""
        self._held = mounts
        self._worker_uid = worker_uid
        self._changed = changed
        self._operations: dict[str, Callable[[KeptMount, socket.socket, Message, int], Message]] = {
            "take": self._take,
            "offer": self._offer,
            "remember": self._remember,
            "register": self._register,
            "unregister": self._unregister,
            "renew": self._renew,
        }

    def keeps(self, descriptor: int) -> bool:
        """Return whether a descriptor that a message brought is a mount's now."""
        return descriptor in {held.device for held in self._held.values()}

    def left(self, peer: socket.socket) -> None:
        """Note that a connection ended: its mounts have no owner."""
        for held in self._held.values():
            if held.owner is peer:
                held.owner = None

    def answer(self, peer: socket.socket, message: Message, descriptor: int) -> tuple[Message, int]:
        """Carry out a request; return its answer and the descriptor that goes with it, or -1."""
        try:
            operation = protocol.text(message, "op")
            if operation == "status":
                return self._status(), -1
            if operation not in self._operations or protocol.peer_uid(peer) != self._worker_uid:
                raise RefusedRequest(
                    errno.EPERM, f"{operation!r} is nothing the keeper does for you"
                )
            held = self._held.get(protocol.text(message, "name"))
            if held is None:
                raise RefusedRequest(errno.ENOENT, "no such mount")
            if operation not in ("take", "offer") and held.owner is not peer:
                raise RefusedRequest(errno.EPERM, "only who took a mount may ask for that")
            answer = self._operations[operation](held, peer, message, descriptor)
            self._changed(held)
        except OSError as error:
            log("warning", "refused", op=str(message.get("op"))[:40], error=str(error))
            return {"error": error.errno or errno.EIO, "message": str(error.strerror)}, -1
        return {"ok": True, **answer}, held.device if "token" in answer else -1

    def _status(self) -> Message:
        return {"ok": True, "mounts": {h.name: h.condition() for h in self._held.values()}}

    def _take(self, held: KeptMount, peer: socket.socket, _: Message, __: int) -> Message:
        if held.owner is not None and held.owner is not peer:
            raise RefusedRequest(errno.EBUSY, "another worker serves this mount")
        if held.unmounted():
            raise RefusedRequest(errno.ESHUTDOWN, "it was unmounted from outside, which is final")
        if not held.alive():
            held.mount()
        held.owner = peer
        resumed, held.taken = held.taken, True
        return {
            "state": held.state,
            "backings": held.backings,
            "token": held.token,
            "resumed": resumed,
        }

    def _renew(self, held: KeptMount, peer: socket.socket, message: Message, none: int) -> Message:
        held.mount()
        return self._take(held, peer, message, none)

    def _offer(
        self, held: KeptMount, peer: socket.socket, message: Message, device: int
    ) -> Message:
        token = protocol.text(message, "token")
        if held.alive():
            # Who has the token has the descriptor; its former connection may look alive.
            if token != held.token:
                raise RefusedRequest(errno.ESTALE, "mounted anew since then")
        elif not is_connection(device):
            raise RefusedRequest(errno.EBADF, "not the descriptor of a living mount")
        else:
            held.adopt(device, token)
            log("info", "took the mount back from its worker", mount=held.name)
        held.owner = peer
        held.backings = protocol.mapping(message, "backings")
        held.state = None if message.get("state") is None else protocol.mapping(message, "state")
        return {}

    def _remember(self, held: KeptMount, _: socket.socket, message: Message, __: int) -> Message:
        held.state = protocol.mapping(message, "state")
        return {}

    def _register(
        self, held: KeptMount, _: socket.socket, message: Message, descriptor: int
    ) -> Message:
        tag = protocol.text(message, "tag")
        if len(held.backings) >= MOST_BACKINGS or len(tag) > 100:
            raise RefusedRequest(errno.EMFILE, "too many files are registered")
        if descriptor < 0 or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RefusedRequest(errno.EBADF, "not a regular file")
        backing = mountcalls.register_backing(held.device, descriptor)
        held.backings[str(backing)] = tag
        return {"backing": backing}

    def _unregister(self, held: KeptMount, _: socket.socket, message: Message, __: int) -> Message:
        backing = message.get("backing")
        if not isinstance(backing, int) or held.backings.pop(str(backing), None) is None:
            raise RefusedRequest(errno.ENOENT, "no such registration")
        mountcalls.unregister_backing(held.device, backing)
        return {}
