"""`python -m fusefs worker`: the unprivileged half of the mounts of a pod.

Takes the descriptors from the keeper, serves each with a filesystem that `open_filesystem` builds,
and ends in order: at the first SIGTERM it refuses new writes and uploads dirty files, at the second
it stops at once and leaves the journal to the next start.

Not here: what one mount is (`servedmount`), S3, mount(2) (`keeper`'s).
Threading: mounts are opened in parallel, one thread each; after that only the main thread acts, and
the sessions have threads of their own.
"""

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from fusefs.errors import SetupError
from fusefs.keeper.client import KeeperClient
from fusefs.run import health
from fusefs.run.diagnostics import Diagnostics
from fusefs.run.health import WorkerHealth
from fusefs.run.servedmount import (
    GONE_STATE,
    OpenFilesystem,
    ServedFilesystem,
    ServedMount,
    WorkerOptions,
)
from fusefs.run.status import SERVING, Status
from fusefs.run.watchdog import Watchdog

log = logging.getLogger(__name__)

DONE, FAILED, SETUP_FAILED, UNMOUNTED, LEFT = 0, 1, 2, 3, 4  # exit codes
OPENED_AT_ONCE = 8
LOOK_SECONDS = 0.25
PROGRESS_SECONDS = 2.0
CLOSE_SECONDS = 1.0
# New objects between two collections of garbage, and collections between two of older objects. What
# a bug leaves in circles waits for 20 000 objects that are kept: about 4 MiB.
COLLECTIONS = (20_000, 10, 10)


class WorkerSignals:
    """SIGTERM and SIGINT: the first asks to stop, the second to stop at once."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.hurry = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)

    def _came(self, number: int, _: object) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


def run(
    mounts: Sequence[Mapping[str, object]], open_filesystem: OpenFilesystem, options: WorkerOptions
) -> int:
    """Serve all mounts until SIGTERM; return the exit code.

    0: everything is in S3. 1: something isn't, or a mount was gone. 2: a mount can't start.
    With `once`, when the mounts were taken away: 3, all is in S3; 4, something isn't.
    """
    signals = WorkerSignals()
    ours = [ServedMount(config, options) for config in mounts]
    answering = Status(options.status_socket, lambda: {each.name: each.status() for each in ours})
    answering.start()
    Diagnostics(lambda: (line for each in ours for line in each.diagnosis())).start()
    shown = WorkerHealth(
        os.environ,
        options.run_directory,
        lambda: all(each.state == SERVING and not each.lost for each in ours),
        Watchdog(lambda: health.oldest_and_progress(each.activity() for each in ours)),
    )
    shown.start()
    keeper = KeeperClient(options.keeper_socket, signals.stop)
    try:
        keeper.connect(options.keeper_wait)
        _set_up_collections()
        _open_all(ours, keeper, open_filesystem)
    except SetupError as error:
        if signals.stop.is_set():
            log.info("stopped by a signal before a mount was served")
            return FAILED
        log.critical("%s", error)
        return SETUP_FAILED
    lost = _wait(ours, keeper, signals, options.once)
    clean = drain(ours, signals, options.grace)
    shown.close()
    keeper.close()
    answering.close()
    if lost and options.once:
        return UNMOUNTED if clean else LEFT
    return DONE if clean and not lost else FAILED


def _set_up_collections() -> None:
    """Have Python look for garbage in circles of references seldom: no request makes any.

    What exists now, modules mostly, is left out for good. Before the first request: a look at all
    of it would keep that waiting.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


def _open_all(
    mounts: Sequence[ServedMount], keeper: KeeperClient, open_filesystem: OpenFilesystem
) -> None:
    with ThreadPoolExecutor(OPENED_AT_ONCE, thread_name_prefix="open") as pool:
        waiting = [pool.submit(mount.open, keeper, open_filesystem) for mount in mounts]
    for each in waiting:
        each.result()


def _wait(
    mounts: Sequence[ServedMount], keeper: KeeperClient, signals: WorkerSignals, once: bool
) -> bool:
    """Wait for a signal; True if a mount disappeared first, and this worker has to end.

    An aborted mount, or one of a restarted keeper, is mounted anew for the next worker. A mount
    that was unmounted from outside is not: with `once` the worker ends, else it serves the others.
    """
    while not signals.stop.wait(LOOK_SECONDS):
        gone = [mount for mount in mounts if mount.gone() and (once or mount.state == GONE_STATE)]
        if not gone or signals.stop.wait(LOOK_SECONDS):
            continue
        lost = [mount for mount in gone if once or not keeper.unmounted(mount.name)]
        for mount in gone:
            if mount not in lost:
                mount.unmounted("the mount was unmounted from outside, which is final")
        if lost:
            log.log(
                logging.INFO if once else logging.ERROR,
                "mounts disappeared: unmounted or aborted from outside",
                extra={"mounts": [mount.name for mount in lost]},
            )
            return True
    return False


def drain(mounts: Sequence[ServedMount], signals: WorkerSignals, grace: float) -> bool:
    """Upload everything dirty of all mounts at once; return whether all of it is in S3.

    Ends early at the second signal, or when `grace` seconds are over.
    """
    open_ones = [(mount, mount.served) for mount in mounts if mount.served is not None]
    for mount, served in open_ones:
        mount.state = "draining"
        served.refuse_writes()
    results: dict[str, bool] = {}
    threads = [
        threading.Thread(target=_drain_one, args=(mount, signals.hurry, results), daemon=True)
        for mount, _ in open_ones
    ]
    for thread in threads:
        thread.start()
    _report_progress([served for _, served in open_ones], threads, signals, grace)
    _close(served for _, served in open_ones)
    clean = all(results.get(mount.name, False) for mount in mounts)
    if not clean:
        log.error("not everything is in S3; the journal keeps it for the next start")
    return clean


def _drain_one(mount: ServedMount, stop: threading.Event, results: dict[str, bool]) -> None:
    try:
        results[mount.name] = mount.drain(stop)
    except Exception:  # the other mounts still have to drain
        log.exception("draining failed", extra={"mount": mount.name})


def _close(served: Iterable[ServedFilesystem]) -> None:
    """Close all of them; requests that hang are left to the end of the process."""
    threads = [threading.Thread(target=each.close, daemon=True) for each in served]
    for thread in threads:
        thread.start()
    end = time.monotonic() + CLOSE_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _report_progress(
    open_ones: Sequence[ServedFilesystem],
    threads: Sequence[threading.Thread],
    signals: WorkerSignals,
    grace: float,
) -> None:
    """Log what is left every few seconds, until all threads are done or the time is up."""
    for _ in range(max(1, int(grace / PROGRESS_SECONDS))):
        pending = [thread for thread in threads if thread.is_alive()]
        if not pending or signals.hurry.is_set():
            return
        _join(pending, PROGRESS_SECONDS, signals.hurry)
        left = [served.dirty() for served in open_ones]
        if any(thread.is_alive() for thread in pending):
            files, size = sum(f for f, _ in left), sum(b for _, b in left)
            log.info("uploading before the end", extra={"files": files, "bytes": size})
    signals.hurry.set()


def _join(threads: Sequence[threading.Thread], seconds: float, hurry: threading.Event) -> None:
    """Wait for threads, in short steps, so that a signal is noticed."""
    for _ in range(int(seconds / 0.05)):
        if hurry.wait(0.0) or not any(thread.is_alive() for thread in threads):
            return
        threads[0].join(0.05) if threads[0].is_alive() else hurry.wait(0.05)


def leave(code: int) -> NoReturn:
    """End the process now: reader threads wait in the kernel and can't be joined."""
    logging.shutdown()
    os._exit(code)
