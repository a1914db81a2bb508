"""A child process with its output in a file, that never outlives the tests.

Used from the thread that made it. `setpriv --pdeathsig` ends the child even when the tests
themselves are killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class ChildError(RuntimeError):
    """A child ended, or didn't get ready, when it should have been running."""


class Child:
    """One running program; `output` is the file with its stdout and stderr."""

    def __init__(
        self,
        command: Sequence[str | Path],
        output: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        death_signal: str = "KILL",
    ) -> None:
        self.command = [str(part) for part in command]
        self.output = output
        with output.open("ab") as sink:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", death_signal, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=dict(os.environ if env is None else env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The program's own process id: setpriv has replaced itself with it."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, None while it runs, negative for a signal."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Poll `ready`; raise ChildError with the end of the output if it ends or takes longer."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.returncode is not None:
                raise ChildError(f"{self.describe()} ended with {self.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise ChildError(f"{self.describe()} not ready in {seconds} s: {self.tail()}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if the program has ended."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Return the exit status, or raise subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self, grace: float = 5.0) -> int:
        """End it with SIGTERM, after `grace` seconds with SIGKILL, and return its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it and all it has started, at once, and return its exit status."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGSTOP)  # it starts nobody again, and nobody hears of its death
        for pid in (*descendants(self.pid), self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait(10)

    def tail(self, characters: int = 2000) -> str:
        """Return the end of what it has written."""
        return self.output.read_text(errors="replace")[-characters:]

    def describe(self) -> str:
        """Return the program and its first arguments, for messages."""
        return " ".join(self.command[:4])


def descendants(pid: int) -> list[int]:
    """Return the processes below one, the deepest first; sessions of their own hide none."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, listing.read_text().split()):
                found += [*descendants(child), child]
    return found
