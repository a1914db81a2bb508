"""A FUSE daemon in a child process and its mount, from the first request to the last trace.

Used from one thread. `release` always gets rid of everything; `stop` is what a user does.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.mounts.table import abort, connection_of, detach
from tests.servers.child import Child, descendants

REPOSITORY = Path(__file__).parents[2]


class MountLeftError(AssertionError):
    """A daemon was asked to end and its mount, or itself, is still there."""


class Mount:
    """A mounted file system; `path` is its root, `output` what the daemon says."""

    def __init__(
        self,
        command: Sequence[str | Path],
        path: Path,
        output: Path,
        env: Mapping[str, str],
    ) -> None:
        self.path = path
        self.output = output
        self.command = list(command)
        self.env = dict(env)
        self._watchdog: subprocess.Popen[bytes] | None = None
        path.mkdir(parents=True, exist_ok=True)
        self._begin()

    def _begin(self) -> None:
        self._said_before = len(self.said()) if self.output.exists() else 0
        self.child = Child(self.command, self.output, self.env, REPOSITORY, death_signal="TERM")

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Wait until it is in the mount table; raise ChildError with its output if it isn't."""
        self.child.wait_until(self.is_mounted, seconds)

    def is_mounted(self) -> bool:
        """Say whether the mount table has it."""
        return connection_of(self.path) is not None

    def watch(self, seconds: float) -> None:
        """Kill the daemon and break its connection after this time, from another process.

        No timeout within this process helps against a system call that doesn't return, or a
        page fault that keeps the interpreter's lock.
        """
        self.unwatch()
        script = 'sleep "$1"; echo 1 > "/sys/fs/fuse/connections/$2/abort"; kill -9 -- "-$3"'
        arguments = [str(seconds), str(connection_of(self.path)), str(self.child.pid)]
        self._watchdog = subprocess.Popen(
            ["sh", "-c", script, "sh", *arguments],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def unwatch(self) -> None:
        """Call off the watchdog."""
        if self._watchdog is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._watchdog.pid, signal.SIGKILL)
            self._watchdog.wait(10)
            self._watchdog = None

    def stop(self, seconds: float = 30.0) -> int:
        """End it as a user does, with SIGTERM, and return its exit status.

        Raise MountLeftError if it is still running or mounted then.
        """
        self.child.signal(signal.SIGTERM)
        try:
            status = self.child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise MountLeftError(f"running {seconds} s after SIGTERM: {self.said()}") from error
        if self.is_mounted():
            raise MountLeftError(f"ended with {status} but still mounted: {self.said()}")
        return status

    def kill(self) -> None:
        """End it as the kernel does when memory is short; the dead mount is taken away."""
        connection = connection_of(self.path)
        self.child.kill()
        if connection is not None:
            abort(connection)
            detach(self.path)

    def restart(self) -> None:
        """Start the same command again, on the same mount point and cache, and wait for it."""
        self._begin()
        self.wait_ready()

    def release(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        self.unwatch()
        if self.child.returncode is None and self.is_mounted():
            with suppress(MountLeftError):
                self.stop(20)
        self.kill()

    def peak_memory(self) -> int:
        """Return the bytes that the largest of its processes has had in memory at most."""
        found = []
        for pid in (self.child.pid, *descendants(self.child.pid)):
            status = Path(f"/proc/{pid}/status").read_text()
            found.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
        return max(found)

    def said(self) -> str:
        """Return all it has said."""
        return self.output.read_text(errors="replace")

    def said_since_start(self) -> str:
        """Return what it has said since it was last started."""
        return self.said()[self._said_before :]
