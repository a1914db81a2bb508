"""`python -m fusefs keeper`: the small privileged half of a mount.

Opens /dev/fuse, mounts, hands the descriptor to the worker, and keeps a duplicate: while one of the
two lives, so does the connection. It stores the result of INIT for the next worker, and registers
cache files for passthrough, which takes privilege. It has no credentials, parses nothing that comes
from S3, and refuses any other request: only the worker's user may send requests (root may ask for
the status).

A keeper whose holder was killed serves on as long as it is needed (`unheld`). Without a holder
(`holder`), the mounts exist after a restart but their descriptors don't: they are "orphaned" until
the worker offers its own, which it does as soon as the socket is back. An orphaned mount that a
worker without a descriptor takes, or that no worker offers, is unmounted lazily and mounted anew. A
mount that was unmounted from outside is not mounted again.

On SIGTERM: lazy unmount of everything, exit 0, at once. One thread; every call here returns at
once. Standard library only, and less than 20 MiB of memory.
"""

import os
import signal
import socket
import time

from fusefs.errors import SetupError
from fusefs.keeper import keptmount, protocol
from fusefs.keeper.connections import MOST_CONNECTIONS, WorkerConnections
from fusefs.keeper.holder import Holding
from fusefs.keeper.keptmount import KeptMount, log
from fusefs.keeper.protocol import Message
from fusefs.keeper.requests import MountRequests
from fusefs.keeper.unheld import LOOK_SECONDS, Need, Unheld
from fusefs.probefiles import ProbeFile

ORPHANED_SECONDS = 5.0  # a living worker offers within 0.1 s
ALIVE_SECONDS = 10.0  # between two heartbeats to the holder


class Keeper:
    """Holds the mounts and answers on the socket."""

    def __init__(
        self, mounts: list[Message], worker_uid: int, holding: Holding | None = None
    ) -> None:
        """`holding`: the connection to the process that holds the descriptors, if there is one."""
        self._orphaned_until = time.monotonic() + ORPHANED_SECONDS
        self._held = {str(mount["name"]): KeptMount.of(mount) for mount in mounts}
        self._holding = holding
        self._shown = 0.0
        self._alone = False  # whether the holder was killed
        requests = MountRequests(self._held, worker_uid, self._hold)
        self._connections = WorkerConnections(requests, worker_uid)

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
        keptmount.end(self._held.values())

    def serve(self, listener: socket.socket, wake: int, files: ProbeFile, unheld: Unheld) -> bool:
        """Answer until `wake` becomes readable, and keep the probe's file up to date.

        False: another keeper listens in our place, and gets the mounts from their workers.
        """
        self._connections.listen(listener)
        self._connections.watch(wake)
        if self._holding is not None:
            self._connections.watch(self._holding.fileno())
        while True:
            files.ready(all(held.device >= 0 for held in self._held.values()))
            if wake in self._wait():
                return True
            if self._alone and (need := unheld.need(self._connections.count)) is not Need.SERVE:
                log("info", "the keeper isn't needed any more", leave=need is Need.LEAVE)
                return need is Need.END

    def _wait(self) -> set[int]:
        """Answer what comes in, and send the holder a heartbeat; return what else is readable."""
        milliseconds = self._mount_orphans()
        if self._holding is None:
            most = int(1000 * LOOK_SECONDS) if self._alone else milliseconds
            return self._connections.wait(min(milliseconds, most))
        if time.monotonic() - self._shown > ALIVE_SECONDS:
            self._holding.alive()
            self._shown = time.monotonic()
        came = self._connections.wait(milliseconds)
        if self._holding.fileno() in came:
            log("error", "the holder is gone: the keeper serves on alone")
            self._connections.unwatch(self._holding.fileno())
            self._holding, self._alone = None, True
        return came

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
    ours = True
    try:
        keeper.start()
        try:
            with protocol.listen(path, worker_uid, MOST_CONNECTIONS) as listener:
                log("info", "ready", socket=path, mounts=len(mounts))
                ours = keeper.serve(listener, wake, files, Unheld(path))
        finally:
            if ours:
                files.ready(False)
                keeper.stop()
    except OSError as error:
        raise SetupError(f"{error.filename or path}: {error.strerror}") from error
    log("info", "stopped")
    return 0
