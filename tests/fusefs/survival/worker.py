"""A worker as a pod has it, but over directories: what the tests start and kill.

    S3MOUNT_CONFIG=… python -m tests.fusefs.survival.worker KEEPER-SOCKET STATUS-SOCKET

Each mount's configuration names its directory as "root" and its journal as "journal". "dirty" and
"drains" make a drain report and take time; "trouble" makes it unwell.
"""

import logging
import os
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fusefs.errors import SetupError
from fusefs.interface import Calls, Invalidations
from fusefs.keeper import protocol
from fusefs.run import servedmount, worker
from fusefs.session.startmode import StartMode
from fusefs.timings import Timings
from tests.fusefs.survival.directory import Directory


class Served:
    """A directory with the life of a filesystem that uploads."""

    def __init__(self, config: Mapping[str, object], *, fresh: bool) -> None:
        if config.get("refuses"):
            raise SetupError(str(config["refuses"]))
        self._config = config
        self._directory = Directory(
            Path(str(config["root"])), Path(str(config["journal"])), fresh=fresh
        )
        self.times: Timings[tuple[str, int]] = Timings()
        self._left = int(str(config.get("dirty", 0)))

    @property
    def calls(self) -> Calls:
        return self._directory

    message_memory = 32 << 20

    def open_handles(self) -> Mapping[int, int]:
        return self._directory.open_handles()

    def open_contents(self) -> Mapping[int, int]:
        return {}

    def counts(self) -> Mapping[str, float]:
        return {}

    def diagnosis(self) -> Iterable[tuple[str, Mapping[str, object]]]:
        return ()

    def trouble(self) -> str:
        file = self._config.get("trouble")
        return Path(str(file)).read_text() if file and Path(str(file)).exists() else ""

    def activity(self) -> int:
        return 0

    def refuse_writes(self) -> None:
        self._directory.read_only = True

    def dirty(self) -> tuple[int, int]:
        return self._left, self._left << 20

    def drain(self, stop: threading.Event) -> bool:
        while self._left and not stop.wait(0.1):
            self._left -= 1
        return not self._left

    def close(self) -> None:
        """Nothing is held that the process's end doesn't give back."""


def build(
    config: Mapping[str, object], _: Invalidations, how: StartMode, __: Collection[str]
) -> Served:
    return Served(config, fresh=how is not StartMode.RESUMED)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s %(name)s")
    grace = float(os.environ.get("GRACE", "20"))
    options = servedmount.WorkerOptions(sys.argv[1], sys.argv[2], grace=grace)
    mounts = protocol.parse_document(protocol.read_document(os.environ, None))
    return worker.run(mounts, build, options)


if __name__ == "__main__":
    worker.leave(main())
