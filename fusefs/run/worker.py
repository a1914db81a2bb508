"""`python -m fusefs worker`: the unprivileged half of the mounts of a pod.

Takes the descriptors from the keeper, serves each with a filesystem that `open_filesystem` builds,
and gives everything up in order: at the first SIGTERM it refuses new writes and uploads what is
dirty, at the second it stops at once and leaves the journal to the next start.

A worker that follows a dead one has the kernel send again what that one didn't answer. A kernel
that can't do that (before Linux 6.9) can't take a mount over: it is aborted and mounted anew, and
whoever had files open there gets errors.

Not here: S3, nodes, handles and their journal (the filesystem's), mount(2) (`keeper`'s).
Threading: mounts are opened at once, a few threads each its own; after that only the main thread
acts, and the sessions have threads of their own.
"""

import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NoReturn, Protocol

from fusefs.errors import SetupError
from fusefs.interface import Calls, Invalidations, Silent
from fusefs.keeper import protocol
from fusefs.keeper.client import KeeperClient, KeeperRegistry, Taken, Unmounted
from fusefs.kernel.backing import Backings
from fusefs.kernel.negotiation import Wishes
from fusefs.kernel.notify import Notifier, send_resend
from fusefs.kernel.session import Session, Settings
from fusefs.kernel.wire import Init
from fusefs.run import health, status
from fusefs.run.health import Health
from fusefs.run.status import SERVING, MountStatus, Status
from fusefs.run.watchdog import Watchdog

log = logging.getLogger(__name__)

DONE, FAILED, SETUP_FAILED, UNMOUNTED, LEFT = 0, 1, 2, 3, 4  # exit codes
OPENED_AT_ONCE = 8
GONE_STATE, UNMOUNTED_STATE = "gone", "unmounted"
LOOK_SECONDS = 0.25
PROGRESS_SECONDS = 2.0
CLOSE_SECONDS = 1.0
LOST = (
    "the mount was lost and mounted anew; containers that were started before have the dead one:"
    " delete the pod"
)


class Served(Protocol):
    """A filesystem as the worker sees it. No method but `drain` and `close` takes time."""

    @property
    def calls(self) -> Calls: ...

    def open_handles(self) -> Mapping[int, int]:
        """Return the open file handles restored from the journal, each with its node."""

    def trouble(self) -> str:
        """Return why the mount isn't well, "" when it is."""

    def activity(self) -> int:
        """Return a number that grows with whatever is done for this mount in the background."""

    def refuse_writes(self) -> None:
        """From now on, EROFS for whatever would make something dirty."""

    def dirty(self) -> tuple[int, int]:
        """Return the number of files and bytes that are not in S3 yet."""

    def drain(self, stop: threading.Event) -> bool:
        """Upload everything dirty until `stop`; return whether all of it is in S3."""

    def close(self) -> None:
        """Let go of everything; the journal keeps what isn't in S3."""


class Beginning(Enum):
    """What the kernel knows when a worker begins; only of RESUMED it has nodes and handles."""

    NEW = auto()
    RESUMED = auto()
    RENEWED = auto()  # it had, and lost them with the mount: it can't send requests again


# Configuration of the mount, where to tell of changes, and how it begins: where not RESUMED, nodes
# and handles of the journal mean nothing to the kernel any more (dirty data still counts).
OpenFilesystem = Callable[[Mapping[str, object], Invalidations, Beginning], Served]


@dataclass(frozen=True, slots=True)
class Options:
    """How a worker runs; times in seconds.

    `keeper_wait`: how long the keeper may take to appear. `grace`: how long a drain may take.
    `stalled_after`: a request under way for longer is trouble.
    """

    keeper_socket: str
    status_socket: str = status.SOCKET
    session: Settings = field(default_factory=lambda: Settings(wishes=Wishes(passthrough=True)))
    keeper_wait: float = 60.0
    grace: float = 25.0
    stalled_after: float = 120.0
    once: bool = False  # the end of the mounts is the end of the worker, in good order
    run_directory: str = protocol.RUN_DIRECTORY  # where a supervised worker shows how it is


class Signals:
    """SIGTERM and SIGINT: the first asks to stop, the second to stop at once."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.hurry = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)

    def _came(self, number: int, _: object) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


def sends_again(taken: Taken) -> bool:
    """Say whether the kernel can send again what a dead worker did not answer."""
    if taken.negotiated is not None:
        return taken.negotiated.has(Init.HAS_RESEND)
    # Killed before INIT was answered: nothing was agreed, and asking is the only way to know.
    try:
        send_resend(taken.device)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise SetupError(f"mount {taken.name} can't be taken over: {error}") from error
        return False
    return True


class Mount:
    """One mount of this worker, from its configuration to its end."""

    def __init__(self, config: Mapping[str, object], options: Options) -> None:
        self.name = str(config["name"])
        self.mountpoint = str(config["mountpoint"])
        self.served: Served | None = None
        self.state = "starting"
        self.lost = False  # containers that were started before have a mount that is dead
        self._config = config
        self._options = options
        self._session: Session | None = None

    def open(self, keeper: KeeperClient, open_filesystem: OpenFilesystem) -> None:
        """Take the mount, build its filesystem, and serve it."""
        try:
            taken = keeper.take(self.name)
        except Unmounted as error:
            self._serve_nobody(str(error), open_filesystem)
            return
        beginning = Beginning.RESUMED if taken.served else Beginning.NEW
        if taken.resumed and not sends_again(taken):
            beginning = Beginning.RENEWED if taken.served else Beginning.NEW
            taken = self._renew(keeper)
        self._serve(keeper, taken, beginning, open_filesystem)
        if health.HEARTBEAT in os.environ:
            self.lost = health.Served(self._options.run_directory).lost(self.name, taken.token)
        self.state = SERVING
        log.info("serving", extra={"mount": self.name, "resumed": taken.resumed})

    def _renew(self, keeper: KeeperClient) -> Taken:
        log.warning(
            "this kernel can't send requests again: the mount is aborted and mounted anew, files "
            "open there fail (Linux 6.9 or later survives the restart of a worker)",
            extra={"mount": self.name},
        )
        return keeper.renew(self.name)

    def _serve(
        self,
        keeper: KeeperClient,
        taken: Taken,
        beginning: Beginning,
        open_filesystem: OpenFilesystem,
    ) -> None:
        backings = Backings(KeeperRegistry(keeper, self.name))
        notifier = Notifier(taken.device, backings.kernel_ids)
        self.served = open_filesystem(self._config, notifier, beginning)
        backings.restore(taken.backings, self.served.open_handles())
        self._session = Session(
            taken.device,
            self.served.calls,
            self._options.session,
            notifier,
            backings,
            negotiated=taken.negotiated,
            on_negotiated=lambda agreed: keeper.remember(self.name, agreed),
        )
        self._session.start(resend=taken.resumed)

    def _serve_nobody(self, why: str, open_filesystem: OpenFilesystem) -> None:
        """Only upload what a former worker left: the mount is no more."""
        self.unmounted(why)
        try:
            self.served = open_filesystem(self._config, Silent(), Beginning.NEW)
        except SetupError as error:
            log.error(  # noqa: TRY400 - it is one line for a person
                "what a former worker left can't be uploaded now; it stays on the cache volume",
                extra={"mount": self.name, "error": str(error)},
            )

    def unmounted(self, why: str) -> None:
        """Somebody took the mount away, for good: what isn't in S3 is still to be uploaded."""
        self.state = UNMOUNTED_STATE
        log.error("%s; what isn't in S3 is uploaded", why, extra={"mount": self.name})

    def gone(self) -> bool:
        """Say whether the mount ended without us."""
        ended = self._session is not None and self._session.wait(0) is not None
        if ended and self.state != UNMOUNTED_STATE:
            self.state = GONE_STATE
        return self.state in (GONE_STATE, UNMOUNTED_STATE)

    def drain(self, stop: threading.Event) -> bool:
        """Upload all there is, and let changes finish that were under way; False: `stop` came.

        A rename that ended in its middle would leave its directory under two names.
        """
        assert self.served is not None  # noqa: S101 - it is open
        if self._session is None:
            return self.served.drain(stop)
        began = time.monotonic()
        uploaded = self.served.drain(stop)
        while self._session.changes(began):
            if stop.wait(LOOK_SECONDS / 10):
                return False
        return uploaded and self.served.drain(stop)

    def activity(self) -> tuple[float, int]:
        """Return the seconds of the longest wait, and a number that grows with all that is done."""
        if self._session is None or self.served is None:
            return 0.0, 0
        return self._session.oldest_request(), self._session.answered() + self.served.activity()

    def status(self) -> MountStatus:
        """Say how the mount is; returns at once."""
        trouble = LOST if self.lost else self.served.trouble() if self.served is not None else ""
        if self.state == UNMOUNTED_STATE:
            files, size = self.served.dirty() if self.served is not None else (0, 0)
            trouble = f"unmounted from outside; {files} files ({size} bytes) are still to be sent"
        if not trouble and self._session is not None:
            oldest = self._session.oldest_request()
            if oldest > self._options.stalled_after:
                trouble = f"a request has not been answered for {oldest:.0f} s"
        return MountStatus(self.mountpoint, self.state, trouble)


def run(
    mounts: Sequence[Mapping[str, object]], open_filesystem: OpenFilesystem, options: Options
) -> int:
    """Serve all mounts until SIGTERM; return the exit code.

    0: everything is in S3. 1: something isn't, or a mount was gone. 2: a mount can't start.
    With `once`, when the mounts were taken away: 3, all is in S3; 4, something isn't.
    """
    signals = Signals()
    ours = [Mount(config, options) for config in mounts]
    answering = Status(options.status_socket, lambda: {each.name: each.status() for each in ours})
    answering.start()
    shown = Health(
        os.environ,
        options.run_directory,
        lambda: all(each.state == SERVING and not each.lost for each in ours),
        Watchdog(lambda: health.oldest_and_progress(each.activity() for each in ours)),
    )
    shown.start()
    keeper = KeeperClient(options.keeper_socket, signals.stop)
    try:
        keeper.connect(options.keeper_wait)
        _open_all(ours, keeper, open_filesystem)
    except SetupError as error:
        if signals.stop.is_set():
            log.info("told to end before anything was served")
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


def _open_all(
    mounts: Sequence[Mount], keeper: KeeperClient, open_filesystem: OpenFilesystem
) -> None:
    with ThreadPoolExecutor(OPENED_AT_ONCE, thread_name_prefix="open") as pool:
        waiting = [pool.submit(mount.open, keeper, open_filesystem) for mount in mounts]
    for each in waiting:
        each.result()


def _wait(mounts: Sequence[Mount], keeper: KeeperClient, signals: Signals, once: bool) -> bool:
    """Wait for a signal; True when a mount was gone before, and this worker has to end.

    One that was aborted, or whose keeper began anew, is mounted anew for the next worker. One that
    somebody unmounted is not: with `once` that is the end, else the others are served on.
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


def drain(mounts: Sequence[Mount], signals: Signals, grace: float) -> bool:
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


def _drain_one(mount: Mount, stop: threading.Event, results: dict[str, bool]) -> None:
    try:
        results[mount.name] = mount.drain(stop)
    except Exception:  # one mount's failure must not keep the others from draining
        log.exception("draining failed", extra={"mount": mount.name})


def _close(served: Iterable[Served]) -> None:
    """Let go of all of them; requests that hang are left to the end of the process."""
    threads = [threading.Thread(target=each.close, daemon=True) for each in served]
    for thread in threads:
        thread.start()
    end = time.monotonic() + CLOSE_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _report_progress(
    open_ones: Sequence[Served],
    threads: Sequence[threading.Thread],
    signals: Signals,
    grace: float,
) -> None:
    """Tell every now and then what is left, until all threads are done or time is up."""
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
    """Wait for threads, a little at a time, so that a signal is noticed."""
    for _ in range(int(seconds / 0.05)):
        if hurry.wait(0.0) or not any(thread.is_alive() for thread in threads):
            return
        threads[0].join(0.05) if threads[0].is_alive() else hurry.wait(0.05)


def leave(code: int) -> NoReturn:
    """End the process now: reader threads wait in the kernel and can't be joined."""
    logging.shutdown()
    os._exit(code)
