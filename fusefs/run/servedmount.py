"""One mount of a worker: take it from the keeper, serve it, and report its status.

After a worker's death its successor has the kernel resend the requests that were not answered. On a
kernel without resend (before Linux 6.9) a mount can't be taken over: it is aborted and mounted
anew, and its open files fail.

Not here: when the process ends (`worker`), S3, nodes, handles and their journal
(`mount`).
Threading: one thread opens a mount; after that any thread may ask for its status.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from fusefs.errors import SetupError
from fusefs.interface import Calls, Invalidations, Silent
from fusefs.keeper import protocol
from fusefs.keeper.client import KeeperClient, KeeperRegistry, Taken, Unmounted
from fusefs.kernel.backing import Backings, identity_in
from fusefs.kernel.negotiation import Wishes
from fusefs.kernel.notify import Notifier, send_resend
from fusefs.kernel.session import KernelSession, SessionSettings
from fusefs.kernel.wire import Init
from fusefs.run import health, status
from fusefs.run.status import SERVING, MountStatus
from fusefs.session.startmode import StartMode
from fusefs.timings import Timings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.025  # between two checks for requests in flight, in a drain
GONE_STATE, UNMOUNTED_STATE = "gone", "unmounted"
LOST = (
    "the mount was lost and mounted anew; containers that were started before have the dead one:"
    " delete the pod"
)


class ServedFilesystem(Protocol):
    """The filesystem of a mount. All methods but `drain` and `close` return at once."""

    @property
    def calls(self) -> Calls: ...

    @property
    def message_memory(self) -> int:
        """Bytes that requests and answers in flight may take."""

    @property
    def times(self) -> Timings[tuple[str, int]]:
        """How long file operations took, by name and errno."""

    def open_handles(self) -> Mapping[int, int]:
        """Return the open file handles restored from the journal, each with its node."""

    def open_contents(self) -> Mapping[int, int]:
        """Return these handles, each with the number of its content (`Opened.content`)."""

    def counts(self) -> Mapping[str, float]:
        """Return the counts that the mount's status shows, by name."""

    def diagnosis(self) -> Iterable[tuple[str, Mapping[str, object]]]:
        """Return log lines for fault finding, each as its event and fields."""

    def trouble(self) -> str:
        """Return the fault that the mount's status shows, "" for none."""

    def activity(self) -> int:
        """Return a number that grows with every step of the mount's background work."""

    def refuse_writes(self) -> None:
        """Answer EROFS to all modifying calls from now on."""

    def dirty(self) -> tuple[int, int]:
        """Return the number of files and bytes that are not in S3 yet."""

    def drain(self, stop: threading.Event) -> bool:
        """Upload everything dirty until `stop`; return whether all of it is in S3."""

    def close(self) -> None:
        """Close everything; the journal keeps what isn't in S3."""


# Arguments: the mount's configuration, the receiver of invalidations, the start mode. Unless it is
# RESUMED, nodes and handles of the journal are void (staged files still count). The last one are
# the cache files that the kernel reads by itself, as `device:inode`: they must not change.
OpenFilesystem = Callable[
    [Mapping[str, object], Invalidations, StartMode, Collection[str]], ServedFilesystem
]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker runs; times in seconds.

    `keeper_wait`: how long the keeper may take to appear. `grace`: how long a drain may take.
    `stalled_after`: a request in flight for longer is reported by the status.
    """

    keeper_socket: str
    status_socket: str = status.SOCKET
    session: SessionSettings = field(
        default_factory=lambda: SessionSettings(wishes=Wishes(passthrough=True))
    )
    keeper_wait: float = 60.0
    grace: float = 25.0
    stalled_after: float = 120.0
    once: bool = False  # the worker ends in good order when its mounts are unmounted
    run_directory: str = protocol.RUN_DIRECTORY  # of the probe's files


def sends_again(taken: Taken) -> bool:
    """Return whether the kernel can resend the requests that a dead worker did not answer."""
    if taken.negotiated is not None:
        return taken.negotiated.has(Init.HAS_RESEND)
    # Killed before INIT was answered: its result is unknown, so resend is tried.
    try:
        send_resend(taken.device)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise SetupError(f"mount {taken.name} can't be taken over: {error}") from error
        return False
    return True


class ServedMount:
    """One mount of this worker, from its configuration to its end."""

    def __init__(self, config: Mapping[str, object], options: WorkerOptions) -> None:
        self.name = str(config["name"])
        self.mountpoint = str(config["mountpoint"])
        self.served: ServedFilesystem | None = None
        self.state = "starting"
        self.lost = False  # containers started before still have the dead mount
        self._config = config
        self._options = options
        self._session: KernelSession | None = None

    def open(self, keeper: KeeperClient, open_filesystem: OpenFilesystem) -> None:
        """Take the mount, build its filesystem, and serve it."""
        try:
            taken = keeper.take(self.name)
        except Unmounted as error:
            self._serve_nobody(str(error), open_filesystem)
            return
        mode = StartMode.RESUMED if taken.served else StartMode.FIRST
        if taken.resumed and not sends_again(taken):
            mode = StartMode.RENEWED if taken.served else StartMode.FIRST
            taken = self._renew(keeper)
        self._serve(keeper, taken, mode, open_filesystem)
        if health.HEARTBEAT in os.environ:
            self.lost = health.ServedTokens(self._options.run_directory).lost(
                self.name, taken.token
            )
        self.state = SERVING
        log.info("serving", extra={"mount": self.name, "resumed": taken.resumed})

    def _renew(self, keeper: KeeperClient) -> Taken:
        log.warning(
            "this kernel can't resend requests: the mount is aborted and mounted anew, files "
            "open there fail (Linux 6.9 or later survives the restart of a worker)",
            extra={"mount": self.name},
        )
        return keeper.renew(self.name)

    def _serve(
        self,
        keeper: KeeperClient,
        taken: Taken,
        mode: StartMode,
        open_filesystem: OpenFilesystem,
    ) -> None:
        backings = Backings(KeeperRegistry(keeper, self.name))
        notifier = Notifier(taken.device, backings.kernel_ids)
        kernel_reads = frozenset(map(identity_in, taken.backings.values()))
        self.served = open_filesystem(self._config, notifier, mode, kernel_reads)
        backings.restore(taken.backings, self.served.open_handles(), self.served.open_contents())
        self._session = KernelSession(
            taken.device,
            self.served.calls,
            replace(self._options.session, memory=self.served.message_memory),
            notifier,
            backings,
            negotiated=taken.negotiated,
            on_negotiated=lambda agreed: keeper.remember(self.name, agreed),
            times=self.served.times,
        )
        self._session.start(resend=taken.resumed)

    def _serve_nobody(self, why: str, open_filesystem: OpenFilesystem) -> None:
        """Only upload the changes that a previous worker left: there is no mount to serve."""
        self.unmounted(why)
        try:
            self.served = open_filesystem(self._config, Silent(), StartMode.FIRST, ())
        except SetupError as error:
            log.error(  # noqa: TRY400 - it is one line for a person
                "changes of a previous worker can't be uploaded now; they stay on the cache volume",
                extra={"mount": self.name, "error": str(error)},
            )

    def unmounted(self, why: str) -> None:
        """Note that the mount was unmounted from outside; dirty files are still uploaded."""
        self.state = UNMOUNTED_STATE
        log.error("%s; changes that aren't in S3 yet are uploaded", why, extra={"mount": self.name})

    def diagnosis(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Yield log lines for fault finding, each as its event and fields."""
        oldest = self._session.oldest_request() if self._session is not None else 0.0
        yield "mount", {"mount": self.name, "state": self.state, "oldest_request": round(oldest, 3)}
        if self.served is not None:
            for what, fields in self.served.diagnosis():
                yield what, {"mount": self.name, **fields}

    def gone(self) -> bool:
        """Return whether the mount ended from outside."""
        ended = self._session is not None and self._session.wait(0) is not None
        if ended and self.state != UNMOUNTED_STATE:
            self.state = GONE_STATE
        return self.state in (GONE_STATE, UNMOUNTED_STATE)

    def drain(self, stop: threading.Event) -> bool:
        """Upload all dirty files, and wait for modifying requests in flight; False if stopped.

        A rename cut off half way would leave its directory under two names.
        """
        assert self.served is not None  # noqa: S101 - it is open
        if self._session is None:
            return self.served.drain(stop)
        began = time.monotonic()
        uploaded = self.served.drain(stop)
        while self._session.changes(began):
            if stop.wait(LOOK_SECONDS):
                return False
        return uploaded and self.served.drain(stop)

    def activity(self) -> tuple[float, int]:
        """Return the oldest request's age in seconds, and a number that grows with all work."""
        if self._session is None or self.served is None:
            return 0.0, 0
        return self._session.oldest_request(), self._session.answered() + self.served.activity()

    def status(self) -> MountStatus:
        """Return the mount's status, at once."""
        trouble = LOST if self.lost else self.served.trouble() if self.served is not None else ""
        if self.state == UNMOUNTED_STATE:
            files, size = self.served.dirty() if self.served is not None else (0, 0)
            trouble = f"unmounted from outside; {files} files ({size} bytes) are still to be sent"
        if not trouble and self._session is not None:
            oldest = self._session.oldest_request()
            if oldest > self._options.stalled_after:
                trouble = f"a request has not been answered for {oldest:.0f} s"
        counts = self.served.counts() if self.served is not None else {}
        return MountStatus(self.mountpoint, self.state, trouble, counts)
