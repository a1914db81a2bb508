"""The worker's side of the handover: takes mounts from the keeper, and gives them back to it.

A thread watches the connection: when the keeper dies, it connects again as soon as the socket is
back, and offers every mount that this worker holds. Until then requests fail at once, which costs
passthrough only.

Threading: any thread may send requests. `_lock` keeps a request and its answer together: it is held
over that round trip to a local process, which has a time limit. A new connection is published only
when all offers are made.
"""

import errno
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.errors import SetupError
from fusefs.keeper import protocol
from fusefs.keeper.protocol import Message, ProtocolError
from fusefs.kernel.negotiation import Negotiated
from fusefs.locks import Rank

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0  # the keeper answers in a millisecond; a mount(2) takes a few
RETRY_SECONDS = 0.05
CONNECT_SECONDS = 0.005  # the same for the first connection: somebody waits for the mount


@dataclass(slots=True)
class Taken:
    """A mount this worker serves.

    `resumed`: another process had the descriptor before, and may have read requests from it.
    `negotiated` is what INIT agreed then, None where its answer was never sent. `backings`:
    passthrough registrations, id -> tag.
    """

    name: str
    device: int
    token: str
    resumed: bool
    negotiated: Negotiated | None
    backings: dict[int, str] = field(default_factory=dict)

    @property
    def served(self) -> bool:
        """Whether the mount was ever served: INIT was answered.

        A worker answers it only after its filesystem has reached the bucket.
        """
        return self.negotiated is not None


class Unmounted(SetupError):
    """The mount was unmounted from outside, which is final: the keeper doesn't mount it again."""


class KeeperClient:
    """One connection to the keeper, reopened whenever it breaks."""

    def __init__(self, path: str, stop: threading.Event | None = None) -> None:
        """`stop` ends the waiting for a keeper, or for a former worker, with a SetupError."""
        self._path = path
        self._stop = stop or threading.Event()
        self._lock = locks.lock(Rank.LEAF)
        self._taken: dict[str, Taken] = {}
        self._closed = threading.Event()
        self._peer: socket.socket | None = None  # None while broken
        self._connection: socket.socket  # closed by the watcher's thread only
        self._watcher = threading.Thread(target=self._watch, name="keeper-watch", daemon=True)

    def connect(self, timeout: float) -> None:
        """Connect for the first time; SetupError when the keeper isn't there in `timeout` s."""
        deadline = time.monotonic() + timeout
        while not self._connect():
            if self._stop.wait(CONNECT_SECONDS) or time.monotonic() > deadline:
                raise SetupError(f"no keeper answers at {self._path}")
        self._watcher.start()

    def take(self, name: str, *, timeout: float = 10.0) -> Taken:
        """Take a mount over; waits while a former worker still owns it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self._hold(name, {"op": "take", "name": name})
            except OSError as error:
                if error.errno == errno.ESHUTDOWN:
                    raise Unmounted(f"mount {name}: {error.strerror}") from error
                waiting = isinstance(error, ConnectionError) or error.errno == errno.EBUSY
                over = time.monotonic() > deadline or self._stop.wait(RETRY_SECONDS)
                if not waiting or over:
                    raise SetupError(f"mount {name} can't be taken: {error}") from error

    def renew(self, name: str) -> Taken:
        """Have a mount aborted and mounted anew; its users get errors."""
        try:
            return self._hold(name, {"op": "renew", "name": name})
        except OSError as error:
            raise SetupError(f"mount {name} can't be mounted anew: {error}") from error

    def unmounted(self, name: str) -> bool:
        """Return whether the mount was unmounted from outside; False while no keeper answers."""
        try:
            answer, _ = self._ask({"op": "status"})
            return protocol.mapping(answer, "mounts").get(name) == "unmounted"
        except (OSError, ProtocolError):
            return False

    def remember(self, name: str, negotiated: Negotiated) -> None:
        """Store the result of INIT at the keeper, for the next worker."""
        if name in self._taken:
            self._taken[name].negotiated = negotiated
        try:
            self._ask({"op": "remember", "name": name, "state": negotiated.as_mapping()})
        except OSError as error:
            log.warning("the keeper hasn't stored the result of INIT", extra={"error": str(error)})

    def register(self, name: str, descriptor: int, tag: str) -> int:
        """Register a cache file with the kernel; OSError when refused or the keeper is away."""
        answer, _ = self._ask({"op": "register", "name": name, "tag": tag}, descriptor)
        backing = answer.get("backing")
        if not isinstance(backing, int):
            raise ConnectionError("the keeper's answer is malformed")
        if name in self._taken:
            self._taken[name].backings[backing] = tag
        return backing

    def unregister(self, name: str, backing: int) -> None:
        """Release a registration."""
        if name in self._taken:
            self._taken[name].backings.pop(backing, None)
        self._ask({"op": "unregister", "name": name, "backing": backing})

    def close(self) -> None:
        """Close the connection; the keeper may give the mounts to another worker."""
        self._closed.set()
        with self._lock:
            self._hang_up()
        if self._watcher.is_alive():
            self._watcher.join(timeout=2)

    def _hold(self, name: str, request: Message) -> Taken:
        answer, device = self._ask(request)
        try:
            taken = _taken(name, answer, device)
        except (KeyError, TypeError, ValueError) as error:
            raise ConnectionError("the keeper's answer is malformed") from error
        with self._lock:
            self._taken[name] = taken
        return taken

    def _ask(self, request: Message, descriptor: int = -1) -> tuple[Message, int]:
        with self._lock:
            if self._peer is None:
                raise ConnectionError("the keeper is away")
            try:
                return _exchange(self._peer, request, descriptor)
            except ConnectionError:
                self._hang_up()
                raise

    def _hang_up(self) -> None:
        """Leave the connection to the watcher's thread, which alone closes it."""
        if self._peer is not None:
            try:
                self._peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("the keeper hung up first")
            self._peer = None

    def _connect(self) -> bool:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        peer.settimeout(ANSWER_SECONDS)
        try:
            peer.connect(self._path)
            for taken in list(self._taken.values()):
                self._offer(peer, taken)
        except OSError as error:
            log.debug("no keeper yet: %s", error)
            peer.close()
            return False
        self._connection = peer
        with self._lock:
            self._peer = peer
        return True

    def _offer(self, peer: socket.socket, taken: Taken) -> None:
        negotiated = taken.negotiated
        offer: Message = {
            "op": "offer",
            "name": taken.name,
            "token": taken.token,
            "state": None if negotiated is None else negotiated.as_mapping(),
            "backings": {str(backing): tag for backing, tag in taken.backings.items()},
        }
        try:
            _exchange(peer, offer, taken.device)
        except ConnectionError:
            raise
        except OSError as error:
            log.error(  # noqa: TRY400 - the traceback says nothing more
                "the keeper doesn't take the mount back",
                extra={"mount": taken.name, "error": str(error)},
            )
            del self._taken[taken.name]

    def _watch(self) -> None:
        while not self._closed.is_set():
            poll = select.poll()
            poll.register(self._connection, 0)
            poll.poll()
            with self._lock:
                self._peer = None
            self._connection.close()
            if not self._closed.is_set():
                log.warning("the keeper went away")
            while not self._closed.wait(RETRY_SECONDS):
                connected = False
                with bulkhead("connecting to the keeper", pause=1.0):
                    connected = self._connect()
                if connected:
                    log.info("the keeper is back", extra={"mounts": len(self._taken)})
                    break


@dataclass(frozen=True, slots=True)
class KeeperRegistry:
    """Passthrough registration for one mount, through the keeper."""

    client: KeeperClient
    name: str

    def register(self, descriptor: int, tag: str) -> int:
        """Return the backing id of an open file."""
        return self.client.register(self.name, descriptor, tag)

    def unregister(self, backing: int) -> None:
        """Release a backing id."""
        self.client.unregister(self.name, backing)


def _exchange(peer: socket.socket, request: Message, descriptor: int) -> tuple[Message, int]:
    """Send a request and return its answer; ConnectionError if that fails, OSError if refused."""
    try:
        protocol.send(peer, request, descriptor)
        answer, handed = protocol.receive(peer)
    except (OSError, EOFError, ProtocolError) as error:
        raise ConnectionError(f"the keeper doesn't answer: {error}") from error
    number = answer.get("error")
    if isinstance(number, int):
        if handed >= 0:
            os.close(handed)
        raise OSError(number, str(answer.get("message")))
    return answer, handed


def _taken(name: str, answer: Mapping[str, object], device: int) -> Taken:
    """Parse the answer to `take`."""
    if device < 0:
        raise ValueError("no descriptor")
    state = answer.get("state")
    backings = protocol.mapping(answer, "backings")
    return Taken(
        name,
        device,
        protocol.text(answer, "token"),
        bool(answer["resumed"]),
        None if state is None else Negotiated.from_mapping(protocol.mapping(answer, "state")),
        {int(backing): str(tag) for backing, tag in backings.items()},
    )
