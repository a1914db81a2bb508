"""Serve the mounts of one configuration, with their metrics, until SIGTERM.

The process is the worker of a pod, or of `fusefs mount` on one machine; a keeper in another process
holds the mounts. Not here: command-line options (`command`), the fusepy driver (`fusepy`), the
filesystem (`mount`), the protocols (`kernel`, `keeper.protocol`). Main thread only.
"""

import logging
import os
import resource
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from fusefs.errors import SetupError
from fusefs.interface import Invalidations
from fusefs.keeper import protocol
from fusefs.mount.metricsport import MetricsPort, Mounts
from fusefs.mount.mount import Mounted, check, open_mount
from fusefs.run import podconfig
from fusefs.run import worker as workers
from fusefs.run.servedmount import WorkerOptions
from fusefs.session.startmode import StartMode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Settings of a worker for all its mounts together.

    `config`: path of the configuration, None for the environment. `drain_seconds`: longest drain
    at the end; None for the longest of the mounts' own (in a pod the grace period limits it).
    `reached`: a file that the worker makes once its mounts can start; it mounts nothing before.
    """

    config: str | None = None
    metrics_port: int | None = None
    drain_seconds: float | None = None
    reached: Path | None = None


def worker(
    settings_of: podconfig.SettingsOf, serving: ServingSettings, options: WorkerOptions
) -> int:
    """Serve the mounts of a configuration until SIGTERM; return the exit code.

    Raises SetupError for a wrong configuration, or for a mount that `check` refuses.
    """
    allow_many_files()
    mounts = protocol.parse_document(protocol.read_document(os.environ, serving.config))
    parsed = {str(each["name"]): settings_of(podconfig.arguments(each)) for each in mounts}
    checked: set[str] = set()  # and not opened since
    if serving.reached is not None and not serving.reached.exists():
        for name, settings in parsed.items():
            check(settings)
            checked.add(name)
        serving.reached.touch()
    opened: dict[str, Mounted] = {}

    def open_filesystem(
        config: Mapping[str, object],
        invalidations: Invalidations,
        mode: StartMode,
        kernel_reads: Collection[str],
    ) -> Mounted:
        name = str(config["name"])
        reached = name in checked
        checked.discard(name)
        opened[name] = open_mount(parsed[name], mode, invalidations, kernel_reads, reached=reached)
        return opened[name]

    grace = serving.drain_seconds
    if grace is None:
        grace = max((each.drain_seconds for each in parsed.values()), default=options.grace)
    ports = [serving.metrics_port, *(each.metrics_port for each in parsed.values())]
    with _serving(lambda: opened, ports):
        return workers.run(mounts, open_filesystem, replace(options, grace=grace))


def allow_many_files() -> None:
    """Raise the limit of open files to its maximum: a changed file takes two descriptors.

    The usual limit of 1024 is for programs that use select(2); 500 files would meet EMFILE.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serving(
    mounts: Mounts, ports: Sequence[int | None]
) -> AbstractContextManager[MetricsPort | None]:
    """Serve metrics on the first port given; if that fails, the mounts go on without metrics."""
    port = next((port for port in ports if port is not None), None)
    if port is None:
        return nullcontext()
    try:
        return MetricsPort(mounts, port)
    except SetupError as error:
        log.error("serving no metrics: %s", error)  # noqa: TRY400 - it is one line for a person
        return nullcontext()
