"""Serve one mount through libfuse 2 in this process: `fusefs mount --driver fusepy`.

For unprivileged users and for laptops; no supervisor, no keeper: the mount ends with the process.
fusepy is an extra, imported only when `portable` is called. Not here: pods (`serving`). The main
thread serves; the upload before the end has a thread of its own.
"""

import logging
import threading
from contextlib import ExitStack
from types import ModuleType

from fusefs.errors import SetupError
from fusefs.mount.metricsport import MetricsPort
from fusefs.mount.mount import Mounted, open_mount
from fusefs.mount.settings import MountSettings
from fusefs.run import worker as workers
from fusefs.run.serving import allow_many_files

log = logging.getLogger(__name__)


def portable(settings: MountSettings) -> int:
    """Serve through fusepy until the mount ends; return the exit code."""
    driver = _driver()
    allow_many_files()
    if settings.passthrough:
        log.warning(
            "--passthrough has no effect here: it takes the native driver, which needs root"
        )
    opened: dict[str, Mounted] = {}
    with ExitStack() as ending:
        if settings.metrics_port is not None:
            ending.enter_context(MetricsPort(lambda: opened, settings.metrics_port))
        opened["default"] = open_mount(settings)
        return _served(driver, settings, opened["default"])


def _served(driver: ModuleType, settings: MountSettings, mounted: Mounted) -> int:
    try:
        _serve(driver, settings, mounted)
    finally:
        clean = _drain(mounted, settings.drain_seconds)
        if clean:
            mounted.close()
        else:
            mounted.tell_left()
    log.info("unmounted", extra={"mountpoint": str(settings.mountpoint), "clean": clean})
    if not clean:
        log.error("not everything is in S3; the journal keeps it for the next start")
        workers.leave(1)  # Python would wait for the threads, which wait for the store
    return 0


def _drain(mounted: Mounted, seconds: float) -> bool:
    """Upload dirty files for at most `seconds`; a second signal ends the process at once."""
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


def _driver() -> ModuleType:
    """Return the driver's module; SetupError says what to install."""
    try:
        from fusefs import fusepy
    except ImportError as error:
        raise SetupError(str(error)) from error
    return fusepy


def _serve(driver: ModuleType, settings: MountSettings, mounted: Mounted) -> None:
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
        # Else O_TRUNC is a separate truncate, which would upload an empty object first.
        "atomic_o_trunc": True,
        "max_read": 1 << 20,
        "use_ino": True,
        "hard_remove": True,
        "default_permissions": True,
        "attr_timeout": 0,  # else reads end at the size before another pod appended
        "entry_timeout": 1,
        "negative_timeout": 0,
    }
    wanted = {
        "allow_other": settings.allow_other,
        "ro": settings.read_only,
        "nonempty": settings.nonempty,
    }
    given |= {name: True for name, asked in wanted.items() if asked}
    driver.run(mounted.filesystem, str(settings.mountpoint), ready, mounted.times, **given)
