"""`python -m fusefs keeper`: the small privileged half of a mount.

Opens /dev/fuse, mounts, hands the descriptor to the worker, and keeps a duplicate: while one of the
two lives, so does the connection. It stores the result of INIT for the next worker, and registers
cache files for passthrough, which takes privilege. It has no credentials, parses nothing that comes
from S3, and refuses any other request: only the worker's user may send requests (root may ask for
the status).

Without a holder (`holder`), the mounts exist after a restart but their descriptors don't: they are
"orphaned" until the worker offers its own, which it does as soon as the socket is back. An orphaned
mount that a worker without a descriptor takes, or that no worker offers, is unmounted lazily and
mounted anew. A mount that was unmounted from outside is not mounted again.

On SIGTERM: lazy unmount of everything, exit 0, at once. One thread; every call here returns at
once. Standard library only, and less than 20 MiB of memory.
"""

import errno
import os
import select
import signal
import socket
import stat
import time
from collections.abc import Callable

from fusefs.errors import SetupError
from fusefs.keeper import protocol
from fusefs.keeper.holder import Holding
from fusefs.keeper.keptmount import KeptMount, is_connection, log
from fusefs.keeper.protocol import Message, ProtocolError
from fusefs.kernel import mountcalls
from fusefs.probefiles import ProbeFile

MOST_CONNECTIONS = 8
ORPHANED_SECONDS = 5.0  # a living worker offers within 0.1 s
ALIVE_SECONDS = 10.0  # between two heartbeats to the holder
MOST_BACKINGS = 1024  # registrations per mount; each keeps a file open in the kernel


class RefusedRequest(OSError):
    """A refused request; errno and message go to the peer."""


class Keeper:
    """Holds the mounts and answers on the socket."""

    def __init__(
        self, mounts: list[Message], worker_uid: int, holding: Holding | None = None
    ) -> None:
        """`holding`: the connection to the process that holds the descriptors, if there is one."""
        self._worker_uid = worker_uid
        self._poll = select.poll()
        self._orphaned_until = time.monotonic() + ORPHANED_SECONDS
        self._connections: dict[int, socket.socket] = {}
        self._held = {str(mount["name"]): KeptMount.of(mount) for mount in mounts}
        self._holding = holding
        self._operations: dict[str, Callable[[KeptMount, socket.socket, Message, int], Message]] = {
            "take": self._take,
            "offer": self._offer,
            "remember": self._remember,
            "register": self._register,
            "unregister": self._unregister,
            "renew": self._renew,
        }

    def start(self) -> None:
        """Mount what isn't mounted; an existing mount waits for the worker with its descriptor."""
        if self._holding is not None:
            self._holding.restore(self._held)
        try:
            for held in self._held.values():
                if held.device >= 0:
                    continue
                if held.mounted():
                    log("warning", "mounted already, waiting for its worker", mount=held.name)
                else:
                    held.mount()
                    self._hold(held)
        except OSError:
            for held in self._held.values():
                if held.device >= 0:
                    held.close()
                    held.unmount(abort=False)
            raise

    def _hold(self, held: KeptMount) -> None:
        if self._holding is not None and held.device >= 0:
            self._holding.hold(held)

    def stop(self) -> None:
        """Unmount everything lazily, and close the descriptors."""
        for held in self._held.values():
            held.end()

    def serve(self, listener: socket.socket, wake: int, files: ProbeFile) -> None:
        """Answer until `wake` becomes readable, and keep the probe's file up to date."""
        self._poll.register(listener, select.POLLIN)
        self._poll.register(wake, select.POLLIN)
        shown = 0.0
        while True:
            files.ready(all(held.device >= 0 for held in self._held.values()))
            if self._holding is not None and time.monotonic() - shown > ALIVE_SECONDS:
                self._holding.alive()
                shown = time.monotonic()
            for descriptor, _ in self._poll.poll(self._mount_orphans()):
                if descriptor == wake:
                    return
                if descriptor == listener.fileno():
                    self._accept(listener)
                elif descriptor in self._connections:
                    self._answer(self._connections[descriptor])

    def _mount_orphans(self) -> int:
        """Mount anew what no worker has offered in time; return the ms to wait."""
        orphans = [held for held in self._held.values() if held.device < 0]
        left = self._orphaned_until - time.monotonic()
        if not orphans or left > 0:
            return int(1000 * min(left, ALIVE_SECONDS) if orphans else 1000 * ALIVE_SECONDS) + 1
        self._orphaned_until = time.monotonic() + ORPHANED_SECONDS
        for held in orphans:
            log("warning", "no worker has the mount any more, mounting anew", mount=held.name)
            try:
                held.mount(abort=False)  # a worker may only be stopped, and serve on later
                self._hold(held)
            except OSError as error:
                log("error", "cannot mount", mountpoint=held.mountpoint, error=str(error))
        return int(1000 * ORPHANED_SECONDS)

    def _accept(self, listener: socket.socket) -> None:
        try:
            peer, _ = listener.accept()
        except OSError as error:
            log("error", "cannot accept a connection", error=str(error))
            time.sleep(0.05)  # a full descriptor table would make this a busy loop
            return
        uid = protocol.peer_uid(peer)
        if uid not in (self._worker_uid, os.geteuid()) or len(self._connections) >= (
            MOST_CONNECTIONS
        ):
            log("warning", "refused a connection", uid=uid, connections=len(self._connections))
            peer.close()
            return
        peer.setblocking(False)
        self._connections[peer.fileno()] = peer
        self._poll.register(peer, select.POLLIN)

    def _drop(self, peer: socket.socket) -> None:
        self._poll.unregister(peer)
        del self._connections[peer.fileno()]
        for held in self._held.values():
            if held.owner is peer:
                held.owner = None
        peer.close()

    def _answer(self, peer: socket.socket) -> None:
        descriptor = -1
        try:
            message, descriptor = protocol.receive(peer)
            answer, handed = self._result(peer, message, descriptor)
            protocol.send(peer, answer, handed)
        except (EOFError, BlockingIOError, ConnectionError):
            self._drop(peer)
        except (OSError, ProtocolError) as error:
            log("warning", "dropped a connection", error=str(error))
            self._drop(peer)
        finally:
            if descriptor >= 0 and descriptor not in {h.device for h in self._held.values()}:
                os.close(descriptor)

    def _result(
        self, peer: socket.socket, message: Message, descriptor: int
    ) -> tuple[Message, int]:
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
            self._hold(held)
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


def run(mounts: list[Message], path: str, worker_uid: int, holding: Holding | None = None) -> int:
    """Mount, serve until SIGTERM or SIGINT, unmount; return the exit code."""
    wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # PID 1 ignores what has no handler
    if os.getpid() == 1:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # have orphans reaped
    keeper = Keeper(mounts, worker_uid, holding)
    files = ProbeFile(os.path.dirname(path), "keeper")  # noqa: PTH120 - as above
    try:
        keeper.start()
        try:
            with protocol.listen(path, worker_uid, MOST_CONNECTIONS) as listener:
                log("info", "ready", socket=path, mounts=len(mounts))
                keeper.serve(listener, wake, files)
        finally:
            files.ready(False)
            keeper.stop()
    except OSError as error:
        raise SetupError(f"{error.filename or path}: {error.strerror}") from error
    log("info", "stopped")
    return 0
