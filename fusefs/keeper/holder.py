"""`python -m fusefs keeper --hold`: the first process of the keeper's container.

It keeps a duplicate of each mount's descriptor and the record that the next worker needs, and has
no other work, so it has no reason to die. The keeper proper is its child: it mounts, answers
workers and registers cache files, reports each change to the holder, and is started again at once,
with all that is held, when it dies or says nothing for a minute. At SIGTERM the holder unmounts
lazily.

The container has no liveness probe: the kubelet would end a keeper by the very signal that
unmounts.

Child and holder exchange one JSON object a message over a SOCK_SEQPACKET pair, as in `protocol`:

    hold   a mount's name, its record (`KeptMount.record`), and its descriptor     child to holder
    held   the same, once for each mount that is held                         holder to child
    end    all that is held has been sent                                     holder to child
    alive  heartbeat                                                          child to holder

Standard library only. One thread.
"""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from fusefs.keeper import keptmount, protocol
from fusefs.keeper.keptmount import KeptMount, log
from fusefs.keeper.protocol import Message, ProtocolError

SILENT_AFTER = 60.0  # seconds; the child sends a heartbeat six times as often
RESTART_PAUSE = 0.2
SETUP_FAILED = 2  # exit code of a keeper with a wrong configuration
LEAST_SCORE = -1000  # proc(5), oom_score_adj: never killed for memory
SEND_SECONDS = 5.0


class Holder:
    """Holds the descriptors of the mounts, and runs the command that serves them."""

    def __init__(
        self,
        mounts: Sequence[Message],
        command: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`command` is run with the number of its end of the pair as the last word."""
        self._held = {str(each["name"]): KeptMount.of(each) for each in mounts}
        self._command = list(command)
        self._clock = clock
        self._pair: socket.socket | None = None
        self._child = 0
        self._served = False
        self._heard = clock()

    def run(self) -> int:
        """Hold until SIGTERM or SIGINT, then unmount; return the exit code."""
        wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waker)
        asked: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda came, _: asked.append(came))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        _survive()
        code = None
        while not asked and code is None:
            if not self._child:
                self._start()
            self._wait(wake)
            code = self._ended()
        self._stop()
        return code or 0

    def _start(self) -> None:
        pair, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pair.settimeout(SEND_SECONDS)
        os.set_inheritable(theirs.fileno(), True)
        command = [*self._command, str(theirs.fileno())]
        self._child = os.posix_spawn(command[0], command, os.environ)
        theirs.close()
        self._pair, self._heard = pair, self._clock()
        try:
            for held in self._held.values():
                if held.device >= 0:
                    message: Message = {"op": "held", "name": held.name, "record": held.record()}
                    protocol.send(pair, message, held.device)
            protocol.send(pair, {"op": "end"})
        except OSError as error:
            log("error", "cannot send the held mounts to the keeper", error=str(error))
            os.kill(self._child, signal.SIGKILL)

    def _wait(self, wake: int) -> None:
        assert self._pair is not None  # noqa: S101 - made by _start
        came = select.select([wake, self._pair.fileno()], [], [], 1.0)[0]
        if wake in came:
            os.read(wake, 4096)
        if self._pair.fileno() in came:
            self._listen(self._pair)
        if self._clock() - self._heard > SILENT_AFTER:
            log("error", "the keeper hangs: it is killed and started again")
            os.kill(self._child, signal.SIGKILL)
            self._heard = self._clock()

    def _listen(self, pair: socket.socket) -> None:
        try:
            message, device = protocol.receive(pair)
        except (OSError, EOFError, ProtocolError):
            time.sleep(0.01)  # the child is on its way out: SIGCHLD follows
            return
        self._heard = self._clock()
        held = self._held.get(str(message.get("name")))
        if message.get("op") != "hold" or held is None:
            return
        self._served = True
        held.close()
        held.restore(protocol.mapping(message, "record"), device)

    def _ended(self) -> int | None:
        """Reap children; return the exit code of a keeper with a wrong configuration, else None."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid != self._child:
                continue  # an orphan that PID 1 inherited
            self._child = 0
            code = os.waitstatus_to_exitcode(status)
            if code == SETUP_FAILED and not self._served:
                return code
            log("warning", "the keeper ended and is started again", code=code)
            time.sleep(RESTART_PAUSE)

    def _stop(self) -> None:
        """End the child first: it must not mount again what is unmounted here."""
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
        keptmount.end(self._held.values())


class Holding:
    """The child's end: sends the holder what to hold."""

    def __init__(self, number: int) -> None:
        self._pair = socket.socket(fileno=number)
        self._pair.settimeout(SEND_SECONDS)
        os.set_inheritable(number, False)
        self._answers = True

    def fileno(self) -> int:
        """Return a descriptor that is readable once the holder is gone: it says nothing more."""
        return self._pair.fileno()

    def restore(self, mounts: dict[str, KeptMount]) -> None:
        """Take over the held mounts; EOFError when the holder is gone."""
        while True:
            message, device = protocol.receive(self._pair)
            if message.get("op") == "end":
                return
            name = protocol.text(message, "name")
            mounts[name].restore(protocol.mapping(message, "record"), device)
            log("info", "resumed a held mount", mount=name)

    def hold(self, held: KeptMount) -> None:
        """Send a mount's descriptor and record to the holder."""
        message: Message = {"op": "hold", "name": held.name, "record": held.record()}
        self._send(message, held.device)

    def alive(self) -> None:
        """Send a heartbeat."""
        self._send({"op": "alive"})

    def _send(self, message: Message, device: int = -1) -> None:
        """Send; that it can't be sent is logged once, until it can."""
        try:
            protocol.send(self._pair, message, device)
        except (BrokenPipeError, ConnectionResetError):
            return  # it is gone: the keeper learns that by `fileno`, and says so
        except OSError as error:
            if self._answers:
                log("error", "the holder doesn't answer", error=str(error))
            self._answers = False
        else:
            self._answers = True


def _survive() -> None:
    """Lower this process's OOM score, as far as the kernel grants it."""
    for score in (LEAST_SCORE, -998, -900, -500, 0):
        try:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(str(score))
        except OSError:
            continue
        return


def run(mounts: Sequence[Message], words: Sequence[str]) -> int:
    """Hold the mounts of a configuration; `words` are the arguments of the keeper proper."""
    return Holder(mounts, [sys.executable, "-m", "fusefs", "keeper", *words, "--held-by"]).run()
