"""Keeper and worker in one process tree, for `fusefs mount --driver native` on one machine.

Does for two processes what the kubelet does for two containers: starts them, restarts the one that
dies (after a pause, which grows for a process that fails by itself), and stops them in order,
worker first. The two hand the mount over by themselves. They start at the same time, but the keeper
mounts nothing before a worker has reached the bucket and made the file `reached`.

No S3 here: this process only watches. One thread. The children are in a session of their own, so
that Ctrl-C reaches them through this process only; if it dies, they get a SIGTERM.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusefs.keeper import protocol
from fusefs.kernel import mountcalls
from fusefs.mount.settings import MountSettings
from fusefs.run.restart import LEFT, SETUP_FAILED, UNMOUNTED, RestartedChild

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
KEEPER_SECONDS = 5.0  # seconds for an unmount, which takes milliseconds


class Supervisor:
    """Runs both until a signal comes or the worker's first start fails."""

    def __init__(
        self,
        keeper: Sequence[str],
        worker: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self.keeper = RestartedChild("keeper", keeper, environment)
        self.worker = RestartedChild("worker", worker, environment)
        self.unmounted = False  # unmounted from outside: a mount there now is foreign
        self._signals = 0
        self._wake = threading.Event()

    def run(self) -> int:
        """Supervise; return the worker's last exit code, 1 for one that was killed."""
        signal.signal(signal.SIGTERM, self._came)
        self.worker.pass_on()
        for number in (signal.SIGINT, signal.SIGHUP):
            # Ignored by nohup, or by a shell for background jobs: stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._came)
        code = self._watch()
        if code is None:
            code = self._stop_worker()
        self._stop_keeper()
        return code if code >= 0 else 1

    def _came(self, _: int, __: object) -> None:
        self._signals += 1
        self._wake.set()

    def _watch(self) -> int | None:
        """Keep both running; return the exit code of a failure, None after a signal."""
        while not self._signals:
            for child in (self.worker, self.keeper):
                code = child.ended()
                # In a later start this code may mean that S3 is unreachable: then it is restarted.
                if code == SETUP_FAILED and child.starts == 1:
                    return code
                if code in (UNMOUNTED, LEFT) and child is self.worker:
                    self.unmounted = True
                    return 0 if code == UNMOUNTED else 1
                child.start()
            self._wake.wait(LOOK_SECONDS)
        return None

    def _stop_worker(self) -> int:
        """Pass two signals on, kill at the third; wait until the worker has ended its uploads."""
        passed = 0
        if self.worker.pid is None:
            log.error("no worker runs; what isn't uploaded stays in the journal")
            return 1
        while (code := self.worker.ended()) is None:
            self._wake.clear()
            while passed < self._signals:
                self.worker.signal(signal.SIGTERM if passed < 2 else signal.SIGKILL)
                passed += 1
            self._wake.wait(LOOK_SECONDS)
        return code

    def _stop_keeper(self) -> None:
        deadline = time.monotonic() + KEEPER_SECONDS
        self.keeper.signal(signal.SIGTERM)
        while self.keeper.pid is not None and self.keeper.ended(asked=True) is None:
            if time.monotonic() > deadline:
                self.keeper.signal(signal.SIGKILL)
            time.sleep(LOOK_SECONDS)


def supervise(settings: MountSettings, words: Sequence[str], log_format: str) -> int:
    """Serve one mount, given by the arguments of its command line; return the exit code."""
    document = {
        "version": protocol.VERSION,
        "mounts": [
            {
                "name": "default",
                "mountpoint": str(settings.mountpoint.absolute()),
                "bucket": settings.store.bucket,
                "readOnly": settings.read_only,
                "arguments": list(words),
            }
        ],
    }
    with tempfile.TemporaryDirectory(prefix="s3mount-run-") as directory:
        sockets = Path(directory)
        reached = str(sockets / "reached")
        keeper_socket, worker_socket = str(sockets / "keeper.sock"), str(sockets / "worker.sock")
        ours = [sys.executable, "-m", "fusefs"]
        address = ["--socket", keeper_socket]
        worker = ["worker", *address, "--status-socket", worker_socket, "--once"]
        worker += ["--log-format", log_format]
        supervisor = Supervisor(
            [*ours, "keeper", *address, "--worker-uid", str(os.getuid()), "--after", reached],
            [*ours, *worker, "--reached", reached],
            {**os.environ, protocol.CONFIG: json.dumps(document)},
        )
        code = supervisor.run()
    # A keeper that was killed, or ended before its handler was installed, has not unmounted.
    mountpoint = os.path.realpath(settings.mountpoint.parent)
    if supervisor.unmounted:
        return code
    for path in mountcalls.unmount_stale(f"{mountpoint}/{settings.mountpoint.name}"):
        log.warning("unmounted the mount that a keeper left", extra={"mountpoint": path})
    return code
