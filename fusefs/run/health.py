"""What a supervised worker reports: a heartbeat, readiness, and whether a mount was lost.

A mount is lost when keeper and worker have died together: both restart and mount anew, but the
running containers have a bind of the dead mount, which the kubelet can't replace. Only a new pod
helps, so the worker of such a pod is never ready again.

Threading: `WorkerHealth` has a thread of its own that looks once a second; the functions it calls
return at once.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fusefs.probefiles import ProbeFile
from fusefs.run.watchdog import Watchdog

HEARTBEAT = "S3MOUNT_HEARTBEAT"  # the number of the pipe's descriptor, in the environment
BEAT_SECONDS = 5.0
LOOK_SECONDS = 1.0


class ServedTokens:
    """The tokens of a pod's served mounts, in a directory that lives as long as the pod."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def lost(self, name: str, token: str) -> bool:
        """Note that a mount is served; return whether an earlier one of that name was lost."""
        path = self._directory / f"served-{name}"
        try:
            return path.read_text(encoding="utf-8") != token
        except FileNotFoundError:
            path.write_text(token, encoding="utf-8")
            return False


class WorkerHealth:
    """Reports a worker's health until `close`."""

    def __init__(
        self,
        environment: Mapping[str, str],
        directory: str,
        ready: Callable[[], bool],
        watchdog: Watchdog,
    ) -> None:
        """Without a supervisor's pipe in `environment` all methods do nothing."""
        self._pulse = int(environment.get(HEARTBEAT, "-1"))
        self._files = ProbeFile(directory, "worker") if self._pulse >= 0 else None
        self._ready = ready
        self._watchdog = watchdog
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        if self._files is not None:
            self._thread.start()

    def close(self) -> None:
        """Stop, and report as not ready."""
        self._closed.set()
        if self._files is not None:
            self._thread.join(2 * LOOK_SECONDS)
            self._files.ready(False)

    def _run(self) -> None:
        assert self._files is not None  # noqa: S101 - that is when the thread is started
        beaten = -BEAT_SECONDS
        while True:
            self._files.ready(self._ready())
            if time.monotonic() - beaten >= BEAT_SECONDS and not self._watchdog.hangs():
                with contextlib.suppress(OSError):  # full or closed: no supervisor reads it
                    os.write(self._pulse, b".")
                beaten = time.monotonic()
            if self._closed.wait(LOOK_SECONDS if self._shown() else LOOK_SECONDS / 20):
                return

    def _shown(self) -> bool:
        return self._files is not None and self._files.shown


def oldest_and_progress(mounts: Iterable[tuple[float, int]]) -> tuple[float, int]:
    """Return the longest wait of all mounts, and the sum of their numbers."""
    both = list(mounts)
    return max((oldest for oldest, _ in both), default=0.0), sum(number for _, number in both)
