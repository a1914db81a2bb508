"""Keeper and worker of a pod as processes of this machine, to be killed one by one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fusefs.kernel import mountcalls
from fusefs.run import status
from tests.mounts import table
from tests.servers.child import descendants


class Pod:
    """The two processes, and the mounts `names` below `base`/bus.

    `run_as` comes before the worker's command (setpriv, unshare).
    """

    def __init__(
        self,
        base: Path,
        names: Sequence[str] = ("one",),
        *,
        run_as: Sequence[str] = (),
        worker_uid: int = 0,
        python: str = sys.executable,
        **extra: object,
    ) -> None:
        self.bus = base / "bus"
        self.keeper_socket = base / "run/keeper.sock"
        self.status_socket = base / "run/worker.sock"
        (base / "run").mkdir(mode=0o777)
        (base / "run").chmod(0o777)
        self._run_as = list(run_as)
        self._uid = worker_uid
        self.python = python
        self.log = base / "log"
        mounts = [self._mount(base, name, extra) for name in names]
        document = json.dumps({"version": 1, "mounts": mounts})
        self.environment = {**os.environ, "S3MOUNT_CONFIG": document}
        self.keeper: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    def _mount(self, base: Path, name: str, extra: dict[str, object]) -> dict[str, object]:
        root, journals = base / "data" / name, base / "journal"
        root.mkdir(parents=True)
        journals.mkdir(exist_ok=True)
        for path in (root, journals):
            os.chown(path, self._uid, self._uid)
        journal = journals / name
        return {
            "name": name,
            "mountpoint": str(self.bus / name),
            "root": str(root),
            "journal": str(journal),
            **extra,
        }

    def keeper_command(self) -> list[str]:
        main = "import sys; from fusefs.keeper.command import main; sys.exit(main(sys.argv[1:]))"
        told = ["--socket", str(self.keeper_socket), "--worker-uid", str(self._uid)]
        return [sys.executable, "-c", main, *told]

    def worker_command(self) -> list[str]:
        module = ["-m", "tests.fusefs.survival.worker"]
        sockets = [str(self.keeper_socket), str(self.status_socket)]
        return [*self._run_as, self.python, *module, *sockets]

    def start_keeper(self, *run_as: str) -> None:
        self.keeper = self._start([*run_as, *self.keeper_command()])

    def start_worker(self) -> None:
        self.worker = self._start(self.worker_command())

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stderr=log)

    def start(self) -> None:
        """Start both and wait until the mounts serve."""
        self.start_keeper()
        self.start_worker()
        self.wait_until_well()

    def verdict(self) -> str:
        """Say what a probe of the worker would find wrong."""
        return status.verdict(None, str(self.status_socket))

    def ready(self, part: str) -> bool:
        """Say whether the readiness probe of `keeper` or `worker` passes."""
        return (self.bus.parent / f"run/{part}.ready").exists()

    def wait_until_well(self, timeout: float = 15.0) -> None:
        deadline = time.monotonic() + timeout
        while self.verdict():
            assert time.monotonic() < deadline, f"{self.verdict()}\n{self.log.read_text()}"
            time.sleep(0.02)

    def abort(self, name: str = "one") -> None:
        """Abort a mount, as an administrator does: it stays mounted, and dead."""
        connection = table.connection_of(self.bus / name)
        assert connection is not None
        table.abort(connection)

    def wait_for_verdict(self, text: str, timeout: float = 15.0) -> None:
        """Wait until a probe finds this wrong, and nothing else."""
        deadline = time.monotonic() + timeout
        while text != self.verdict():
            assert time.monotonic() < deadline, f"{self.verdict()}\n{self.log.read_text()}"
            time.sleep(0.02)

    def wait_for_log(self, text: str, count: int = 1, timeout: float = 15.0) -> None:
        deadline = time.monotonic() + timeout
        while self.log.read_text().count(text) < count:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def kill_worker(self) -> None:
        """Kill -9 the worker, and start the next one."""
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait(10)
        self.start_worker()

    def kill_keeper(self) -> None:
        """Kill -9 the keeper, and start the next one."""
        assert self.keeper is not None
        self.keeper.kill()
        self.keeper.wait(10)
        self.start_keeper()

    def stop(self) -> tuple[int, int]:
        """End both with SIGTERM, the worker first; return their exit codes."""
        codes = []
        for process in (self.worker, self.keeper):
            assert process is not None
            process.send_signal(signal.SIGTERM)
            codes.append(process.wait(30))
        return codes[0], codes[1]

    def clean_up(self) -> None:
        """End whatever a failed test left; nothing below may hang."""
        for process in (self.worker, self.keeper):
            if process is not None and process.poll() is None:
                below = descendants(process.pid)
                process.kill()  # first, for it would start others in their place
                process.wait(10)
                for each in below:
                    with suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)
        mountcalls.unmount_stale(str(self.bus.parent))
