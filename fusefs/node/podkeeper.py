"""The keeper of one pod: its mounts, and the socket on which its worker takes them.

Each pod has a thread, which alone touches its mounts. So what a worker does, a descriptor of a
filesystem that doesn't answer included, stops nobody else's pod. Other threads hand that thread a
job and wait for it with a time limit.

Not here: which pods there are (`nodemounts`), what a worker may ask for (`keeper.requests`).
"""

import os
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from fusefs.keeper import protocol
from fusefs.keeper.connections import MOST_CONNECTIONS, WorkerConnections
from fusefs.keeper.keptmount import ABANDONED_SECONDS, KeptMount, log
from fusefs.keeper.requests import MountRequests
from fusefs.node.socketvolume import SOCKET

JOB_SECONDS = 10.0  # a mount(2) takes milliseconds
END_SECONDS = 1.0  # a thread that hangs for longer is freed by the abort of its mount
LOOK_SECONDS = 30


class PodKeeper:
    """Keeps the mounts of one pod until it is closed."""

    def __init__(
        self, pod: str, worker_uid: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`pod` is its uid; `worker_uid` the user whose connections are accepted."""
        self._worker_uid = worker_uid
        self._clock = clock
        self._mounts: dict[str, KeptMount] = {}
        self._unserved: dict[str, float] = {}  # name -> since when
        self._jobs: deque[tuple[Callable[[], None], Future[None]]] = deque()
        # Sockets, for one that is closed refuses; the number of a descriptor may be another's then.
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._connections = WorkerConnections(MountRequests(self._mounts, worker_uid), worker_uid)
        self._connections.watch(self._wake.fileno())
        self._listener: socket.socket | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"pod-{pod[:8]}", daemon=True)
        self._thread.start()

    @property
    def empty(self) -> bool:
        """Whether it keeps no mount."""
        return not self._mounts

    def listen(self, directory: int) -> None:
        """Make the worker's socket in an open directory, unless that is done; OSError.

        The descriptor stays the caller's: a thread that hangs may use its own one later.
        """
        own = os.dup(directory)
        self._do(lambda: self._listen(own))

    def publish(self, name: str, path: str, *, read_only: bool, source: str = "") -> None:
        """Mount at a path, unless that is done; OSError. Nothing is asked of what is mounted.

        `source`: a text for the mount table, from which the next plugin has it.
        """
        self._do(lambda: self._publish(KeptMount(name, path, source, read_only=read_only)))

    def restore(
        self, name: str, path: str, number: str, *, read_only: bool, source: str = ""
    ) -> None:
        """Wait for the worker of a mount that a former plugin made."""
        self._do(lambda: self._restore(KeptMount(name, path, source, read_only=read_only), number))

    def remove(self, name: str) -> None:
        """End a mount; TimeoutError when its thread hangs. No error if there is none."""
        self._do(lambda: self._remove(name), END_SECONDS)

    def close(self) -> None:
        """Hang up and end the thread; mounts stay as they are."""
        self._closing = True
        self._waker.send(b"x")

    def _do(self, job: Callable[[], None], seconds: float = JOB_SECONDS) -> None:
        done: Future[None] = Future()
        self._jobs.append((job, done))
        self._waker.send(b"x")
        done.result(seconds)

    def _run(self) -> None:
        while not self._closing:
            try:
                if self._connections.wait(LOOK_SECONDS * 1000):
                    self._wake.recv(4096)
                self._work()
                self._give_up()
            except Exception:  # noqa: BLE001 - a bug in one answer must not end the others
                log("error", "a bug: a pod's keeper goes on", traceback=traceback.format_exc())
                time.sleep(1)
        self._connections.close()
        if self._listener is not None:
            self._listener.close()
        for held in self._mounts.values():
            held.close()
        self._waker.close()
        self._wake.close()
        while self._jobs:
            self._jobs.popleft()[1].set_exception(ConnectionAbortedError("the pod is ending"))

    def _work(self) -> None:
        while self._jobs and not self._closing:
            job, done = self._jobs.popleft()
            try:
                job()
            except Exception as error:  # noqa: BLE001 - who waits for the job gets it
                done.set_exception(error)
            else:
                done.set_result(None)

    def _listen(self, directory: int) -> None:
        try:
            if self._listener is None:
                self._listener = protocol.listen_in(
                    directory, SOCKET, self._worker_uid, MOST_CONNECTIONS
                )
                self._connections.listen(self._listener)
        finally:
            os.close(directory)

    def _publish(self, asked: KeptMount) -> None:
        held = self._mounts.get(asked.name, asked)
        if held is not asked and held.mounted():
            return
        held.mount(abort=False)
        self._mounts[held.name] = held

    def _restore(self, held: KeptMount, number: str) -> None:
        held.number = number
        self._mounts[held.name] = held

    def _remove(self, name: str) -> None:
        held = self._mounts.pop(name, None)
        if held is not None:
            held.end()

    def _give_up(self) -> None:
        """Close the descriptors of mounts that no worker has served for long: their users fail."""
        now = self._clock()
        waiting = {
            name: self._unserved.get(name, now)
            for name, held in self._mounts.items()
            if held.taken and held.owner is None and held.device >= 0
        }
        self._unserved = waiting
        for name, since in waiting.items():
            if now - since > ABANDONED_SECONDS:
                log("error", "no worker came back: the mount is given up", mount=name)
                self._mounts[name].close()
