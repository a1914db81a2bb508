"""The status of a process's mounts: sent over a socket to each client, and read by probes.

The answer is one JSON object, sent at once; nothing is read from the client, and nothing in it is
secret: each mount's state, and in words what is wrong with it.

    {"mounts": {"models": {"mountpoint": "/bus/models", "state": "serving", "trouble": "",
     "counts": {"dirty_bytes": 0, …}}}}

The client is standard library only: a probe has 100 ms for everything, Python's start included.
Threading: `Status` answers from a thread of its own; the function it calls must return at once.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from fusefs.acceptor import Acceptor
from fusefs.keeper import protocol

SOCKET = protocol.RUN_DIRECTORY + "/worker.sock"
LARGEST = 128 << 10
SERVING = "serving"
BACKLOG = 64  # clients that may wait
RETRY_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class MountStatus:
    """Status of one mount; `trouble` is "" while nothing is wrong, `counts` are for people."""

    mountpoint: str
    state: str
    trouble: str = ""
    counts: Mapping[str, float] = field(default_factory=dict)


class Status:
    """Answers on a socket with the result of `look`, by mount name."""

    def __init__(self, path: str, look: Callable[[], Mapping[str, MountStatus]]) -> None:
        self._look = look
        self._path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - imported by probes
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - likewise
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._listener.bind(path)
        os.chmod(path, 0o666)  # noqa: PTH101, S103 - a probe may run as any user of the container
        self._listener.listen(BACKLOG)
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering; probes fail from now on."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 - as above
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=2)
        self._listener.close()

    def _serve(self) -> None:
        acceptor = Acceptor(_report)
        while True:
            try:
                accepted = acceptor.accept(self._listener)
            except OSError:
                return
            if accepted is None:
                continue
            with accepted[0] as peer, contextlib.suppress(OSError):
                peer.setblocking(False)
                mounts = {name: asdict(status) for name, status in self._asked().items()}
                peer.send(json.dumps({"mounts": mounts}).encode())

    def _asked(self) -> Mapping[str, MountStatus]:
        try:
            return self._look()
        except Exception as error:  # noqa: BLE001 - a probe must learn of any bug there is
            return {"worker": MountStatus("", "broken", f"no status: {error!r}")}


def ask(path: str = SOCKET, timeout: float = 1.0) -> dict[str, MountStatus]:
    """Return each mount's status; OSError without an answer, ValueError for a malformed one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(timeout)
        _connect(peer, path, time.monotonic() + timeout)
        answer = json.loads(peer.recv(LARGEST))
    try:
        return {name: MountStatus(**fields) for name, fields in answer["mounts"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a status") from error


def _connect(peer: socket.socket, path: str, deadline: float) -> None:
    """Connect, and retry on EAGAIN: the kernel's answer while too many clients wait."""
    while True:
        try:
            return peer.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(RETRY_SECONDS)


def verdict(wanted: str | None, path: str = SOCKET, timeout: float = 1.0) -> str:
    """Return what is wrong with a mount (name or mountpoint), "" for nothing; None: all."""
    try:
        mounts = ask(path, timeout)
    except OSError as error:
        return f"no worker answers at {path}: {error.strerror or error}"
    except ValueError as error:
        return f"{path}: {error}"
    chosen = {n: m for n, m in mounts.items() if wanted in (None, n, m.mountpoint)}
    if not chosen:
        return f"{wanted}: no such mount here"
    return "; ".join(
        f"{name}: {mount.trouble or mount.state}"
        for name, mount in chosen.items()
        if mount.trouble or mount.state != SERVING
    )


def _report(error: OSError) -> None:
    import logging  # a probe, which imports this module, has no time for it

    text = "cannot accept a client of the status"
    logging.getLogger(__name__).warning(text, extra={"error": str(error)})
