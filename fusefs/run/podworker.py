"""`python -m fusefs worker --supervise`: the first process of the worker's container.

It starts the worker proper, and starts it again at once when that dies: the kubelet would wait ever
longer, and applications with it. It kills a worker that hangs. A wrong configuration (exit code 2)
and a crash loop end the container, with the reason as its termination message.

At its end, where no keeper answers, it removes the directory of the pod's mounts (`partition`), by
which they are detached on the node. Nobody else is left who could: the kubelet would wait for ever,
and nothing serves them any more.

No S3 here, no FUSE, and few imports: this process has no reason to die. One thread. The worker
proper sends a heartbeat, a byte on a pipe every few seconds.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fusefs.keeper import protocol
from fusefs.probefiles import ProbeFile
from fusefs.run.health import HEARTBEAT
from fusefs.run.restart import SETUP_FAILED, RestartedChild

log = logging.getLogger(__name__)

SILENT_AFTER = 60.0  # seconds without a heartbeat: the worker stopped it, or its interpreter hangs
MOST_DEATHS = 6  # so many deaths within DEATHS_WITHIN seconds are a crash loop
DEATHS_WITHIN = 60.0
KEEPER_SECONDS = 5.0  # a keeper starts within 0.2 s, on a busy node within seconds
PARTITION = "/gate/mounts"  # as a namespace without the mounts sees it
LOOK_SECONDS = 1.0  # SIGCHLD wakes the loop at once; this is for the restart's pause


class PodWorker:
    """Runs one command until a signal, a wrong configuration or a crash loop."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse, pulse = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_inheritable(pulse, True)
        environment = {**environment, HEARTBEAT: str(pulse)}
        self._child = RestartedChild("worker", command, environment, clock, keep=(pulse,))
        self._files = ProbeFile(directory, "worker")
        self._clock = clock
        self._signals: deque[int] = deque()
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        self._heard = clock()
        self._stopping = False

    def run(self) -> int:
        """Supervise; return the exit code of the container."""
        wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda came, _: self._signals.append(came))
        self._child.pass_on()
        self._child.start()
        while (code := self._step()) is None:
            self._wait(wake)
        return code

    def _wait(self, wake: int) -> None:
        pause = LOOK_SECONDS if self._child.pid is not None else LOOK_SECONDS / 10
        for descriptor in select.select([wake, self._pulse], [], [], pause)[0]:
            os.read(descriptor, 4096)
            if descriptor == self._pulse:
                self._heard = self._clock()

    def _step(self) -> int | None:
        """Handle signals and the child's state; return the exit code at the end, else None."""
        while self._signals:
            self._signals.popleft()
            self._stopping = True
            self._child.signal(signal.SIGTERM)
        if self._child.pid is not None and self._clock() - self._heard > SILENT_AFTER:
            log.error("the worker hangs: it is killed and started again")
            self._child.signal(signal.SIGKILL)
            self._heard = self._clock()
        code = self._child.ended()
        if code is not None:
            return self._ended(code)
        if self._child.pid is None:
            self._heard = self._clock()
            self._child.start()
        return None

    def _ended(self, code: int) -> int | None:
        self._files.ready(False)  # a killed worker leaves its file
        if self._stopping or code in (0, SETUP_FAILED):
            return code if code >= 0 else 1
        self._deaths.append(self._clock())
        if len(self._deaths) == MOST_DEATHS and self._clock() - self._deaths[0] < DEATHS_WITHIN:
            reason = f"the worker ended {MOST_DEATHS} times in {DEATHS_WITHIN:.0f} s, last with"
            reason += f" signal {-code}" if code < 0 else f" exit code {code}"
            log.critical("%s", reason)
            return 1
        return None


def detach(directory: str, keeper_socket: str, patience: float = KEEPER_SECONDS) -> None:
    """Detach the pod's mounts unless a keeper is there to do it, or the pod has no partition.

    A keeper that is starting is waited for: the kubelet asks it to end after this process has
    ended, and PID 1 doesn't hear that before it listens.
    """
    if not Path(directory).exists():
        return
    limit = time.monotonic() + patience
    while not (answers := _answers(keeper_socket)) and time.monotonic() < limit:
        time.sleep(LOOK_SECONDS / 10)
    if answers:
        return
    log.warning("no keeper answers: the mounts are detached")
    try:
        Path(directory).rmdir()
    except OSError as error:
        log.error("the mounts can't be detached", extra={"reason": str(error)})  # noqa: TRY400


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as keeper:
        try:
            keeper.connect(path)
        except OSError:
            return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Run `worker` with these words; return the exit code."""
    command = [sys.executable, "-m", "fusefs", "worker", *arguments]
    code = PodWorker(command, os.environ, protocol.RUN_DIRECTORY).run()
    detach(PARTITION, protocol.SOCKET)
    return code
