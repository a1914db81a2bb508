"""Serving mounts, in each of the ways there are.

- `worker`: the container of a pod; the keeper in another container holds the mounts. On one
  machine `supervisor` starts both.
- `portable`: through libfuse in this very process, for laptops and unprivileged users.

Not here: words (`command`), the filesystem (`mounting`), the protocol (`kernel`,
`keeper.protocol`).
"""

import logging
import os
import resource
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from fusefs.errors import SetupError
from fusefs.interface import Invalidations
from fusefs.keeper import protocol
from fusefs.mount.metrics import Metrics, MetricsPort
from fusefs.mount.mount import Mounted, check, open_mount
from fusefs.mount.settings import MountSettings
from fusefs.run import podconfig
from fusefs.run import worker as workers
from fusefs.run.servedmount import WorkerOptions
from fusefs.session.startmode import StartMode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """What a worker is told about all its mounts together.

    `config`: the file with the document, else the environment has it. `drain_seconds`: None for
    what the mounts say themselves; a pod's worker takes all that the kubelet gives it. `reached`:
    nothing is mounted before this file is there; what can't work is found out first.
    """

    config: str | None = None
    metrics_port: int | None = None
    drain_seconds: float | None = None
    reached: Path | None = None


def worker(settings_of: podconfig.SettingsOf, told: ServingSettings, options: WorkerOptions) -> int:
    """Serve the mounts of a configuration until SIGTERM; return the exit code."""
    _allow_many_files()
    mounts = protocol.parse_document(protocol.read_document(os.environ, told.config))
    parsed = {str(each["name"]): settings_of(podconfig.arguments(each)) for each in mounts}
    if told.reached is not None and not told.reached.exists():
        for settings in parsed.values():
            check(settings)
        told.reached.touch()
    metrics = Metrics()

    def open_filesystem(
        config: Mapping[str, object], invalidations: Invalidations, mode: StartMode
    ) -> Mounted:
        name = str(config["name"])
        mounted = open_mount(parsed[name], mode, invalidations)
        metrics.watch(name, mounted)
        return mounted

    grace = told.drain_seconds
    if grace is None:
        grace = max((each.drain_seconds for each in parsed.values()), default=options.grace)
    ports = [told.metrics_port, *(each.metrics_port for each in parsed.values())]
    with _serving(metrics, ports):
        return workers.run(mounts, open_filesystem, replace(options, grace=grace))


def _allow_many_files() -> None:
    """Have as many files open as this process ever may: a changed file takes two.

    The usual limit of 1024 is for programs that use select(2); it would be EMFILE at 500 files.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serving(
    metrics: Metrics, ports: Sequence[int | None]
) -> AbstractContextManager[MetricsPort | None]:
    """Serve metrics on the first port asked for; mounts that live go on without, if need be."""
    port = next((port for port in ports if port is not None), None)
    if port is None:
        return nullcontext()
    try:
        return MetricsPort(metrics, port)
    except SetupError as error:
        log.error("serving no metrics: %s", error)  # noqa: TRY400 - it is one line for a person
        return nullcontext()


def portable(settings: MountSettings) -> int:
    """Serve through fusepy until the mount ends; return the exit code."""
    _allow_many_files()
    metrics = Metrics()
    with ExitStack() as ending:
        if settings.metrics_port is not None:
            ending.enter_context(MetricsPort(metrics, settings.metrics_port))
        mounted = open_mount(settings)
        metrics.watch("default", mounted)
        return _served(settings, mounted)


def _served(settings: MountSettings, mounted: Mounted) -> int:
    try:
        _serve_portable(settings, mounted)
    finally:
        clean = _drain(mounted, settings.drain_seconds)
        if clean:
            mounted.close()
        else:
            mounted.tell_left()
    log.info("unmounted", extra={"mountpoint": str(settings.mountpoint), "clean": clean})
    if not clean:
        log.error("not everything is in S3; the journal keeps it for the next start")
        workers.leave(1)  # what is under way waits for the store, and Python would wait for that
    return 0


def _drain(mounted: Mounted, seconds: float) -> bool:
    """Upload what is dirty, for so long; a second signal ends the process as usual."""
    mounted.refuse_writes()
    files, size = mounted.dirty()
    if files:
        log.info("uploading before the end", extra={"files": files, "bytes": size})
    stop, done = threading.Event(), threading.Event()

    def run() -> None:
        if mounted.drain(stop):
            done.set()

    threading.Thread(target=run, name="drain", daemon=True).start()
    clean = done.wait(seconds)
    stop.set()
    return clean


def _serve_portable(settings: MountSettings, mounted: Mounted) -> None:
    try:
        from fusefs import fusepy as driver
    except ImportError as error:
        raise SetupError(str(error)) from error

    def ready() -> None:
        log.info(
            "mounted",
            extra={
                "bucket": settings.store.bucket,
                "prefix": settings.prefix,
                "mountpoint": str(settings.mountpoint),
            },
        )

    given: dict[str, object] = {
        "fsname": f"s3mount:{settings.store.bucket}",
        "subtype": "s3mount",
        "big_writes": True,
        # Else O_TRUNC comes as a truncate of its own, which would upload an empty object first.
        "atomic_o_trunc": True,
        "max_read": 1 << 20,
        "use_ino": True,
        "hard_remove": True,
        "default_permissions": True,
        "attr_timeout": 0,  # a reader would be cut at the size before others appended
        "entry_timeout": 1,
        "negative_timeout": 0,
    }
    wanted = {
        "allow_other": settings.allow_other,
        "ro": settings.read_only,
        "nonempty": settings.nonempty,
    }
    given |= {name: True for name, asked in wanted.items() if asked}
    driver.run(mounted.filesystem, str(settings.mountpoint), ready, **given)
