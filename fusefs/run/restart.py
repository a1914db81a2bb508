"""A child process that is restarted when it dies.

After a pause, which grows for a process that fails by itself. One thread.
"""

import ctypes
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SETUP_FAILED = 2  # exit code of a child with a wrong configuration: a restart wouldn't help
# Exit codes of a worker whose mount was unmounted from outside: all is in S3, or not.
UNMOUNTED, LEFT = 3, 4
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
# Longest pause after a kill, in seconds: callers wait, and a kill isn't the process's failure.
KILLED_PAUSE = 0.4
WELL_AFTER = 30.0  # seconds; after a life this long the next pause is the first again

# What only the child answers (`diagnostics`); whoever sends them knows the parent's process id.
FOR_CHILD = (signal.SIGUSR1, signal.SIGUSR2)

_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    for number in FOR_CHILD:
        signal.signal(number, signal.SIG_IGN)  # they would end it before it has handlers


class RestartedChild:
    """One process, and when it may be restarted."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        keep: Sequence[int] = (),
    ) -> None:
        """`keep`: descriptors that the process inherits."""
        self.name = name
        self.starts = 0
        self._clock = clock
        self._command = list(command)
        self._environment = dict(environment)
        self._keep = tuple(keep)
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = FIRST_PAUSE
        self._began = 0.0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, unless it runs or its pause is not over."""
        if self._process is not None or self._clock() < self._not_before:
            return
        self.starts += 1
        self._began = self._clock()
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=self._keep,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # safe: there is one thread
        )

    def ended(self, *, asked: bool = False) -> int | None:
        """Return the exit code when the process has ended since the last call.

        `asked`: it was asked to; that it did so before it had begun to work isn't worth a line.
        """
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        if code == SETUP_FAILED and self.starts == 1:
            return code  # it has logged the reason
        if self._clock() - self._began > WELL_AFTER:
            self._pause = FIRST_PAUSE
        pause = self._pause if code >= 0 else min(self._pause, KILLED_PAUSE)
        self._not_before = self._clock() + pause
        # SIGTERM before its handler is installed ends a child by the signal: that is no failure.
        level = logging.INFO if code in (0, UNMOUNTED, -signal.SIGTERM) else logging.WARNING
        if asked and code == -signal.SIGTERM:
            level = logging.DEBUG
        log.log(level, "a process ended", extra={"part": self.name, "code": code})
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return code

    def pass_on(self) -> None:
        """Have the child get, from now on, the signals that only it answers. Main thread."""
        for number in FOR_CHILD:
            signal.signal(number, lambda came, _: self.signal(came))

    def signal(self, number: int) -> None:
        """Pass a signal on to the process, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
