"""`python -m fusefs probe`: check whether mounts work.

    probe              the worker of this container: all mounts serve, S3 answers, uploads succeed
    probe MOUNTPOINT   a FUSE mount whose root answers
    probe --keeper     the keeper of this container: it holds all its mounts, none is orphaned

Standard library only, and few imports: a probe runs every few seconds. A filesystem whose daemon
hangs blocks every caller, so a mountpoint is checked in a thread that may be left behind.
"""

import os
import socket
import sys
import threading
from pathlib import Path

from fusefs.keeper import protocol
from fusefs.run import status
from fusefs.run.parser import Parser


def main(arguments: list[str]) -> int:
    """Run the command `probe`; return 0, or 1 with the reason on stderr. Raises SetupError."""
    parser = Parser(prog="python -m fusefs probe")
    parser.add_argument("mountpoint", nargs="?", type=Path)
    parser.add_argument("--keeper", action="store_true")
    parser.add_argument("--socket", help="where the worker or keeper answers")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds (default 3)")
    options = parser.parse_args(arguments)
    if options.mountpoint is not None:
        return probe(options.mountpoint, options.timeout)
    if options.keeper:
        reason = _keeper_reason(options.socket or protocol.SOCKET, options.timeout)
    else:
        reason = status.verdict(None, options.socket or status.SOCKET, options.timeout)
    if reason:
        print(reason, file=sys.stderr)  # noqa: T201 - what the kubelet shows
    return 1 if reason else 0


def _keeper_reason(path: str, timeout: float) -> str:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            peer.settimeout(timeout)
            peer.connect(path)
            protocol.send(peer, {"op": "status"})
            mounts = protocol.receive(peer)[0].get("mounts")
    except (OSError, EOFError, protocol.ProtocolError) as error:
        return f"no keeper answers at {path}: {error}"
    if not isinstance(mounts, dict) or not mounts:
        return "the keeper holds no mount"
    return "; ".join(f"{name}: {state}" for name, state in mounts.items() if state != "mounted")


def probe(mountpoint: Path, timeout: float) -> int:
    """Return 0 if the mount's root answers within `timeout` seconds, else 1 with a reason."""
    answer: list[str] = []
    thread = threading.Thread(target=lambda: answer.append(_reason(mountpoint)), daemon=True)
    thread.start()
    thread.join(timeout)
    reason = answer[0] if answer else f"{mountpoint}: no answer within {timeout:g} s"
    if reason:
        print(reason, file=sys.stderr)  # noqa: T201 - what the kubelet shows
        sys.stderr.flush()
    if not answer:
        os._exit(1)  # the thread hangs in the kernel and would block the exit
    return 1 if reason else 0


def _reason(mountpoint: Path) -> str:
    """Return why the mount fails, "" where it works."""
    try:
        if not _mounted(mountpoint):
            return f"{mountpoint}: not mounted"
        os.statvfs(mountpoint)
        mountpoint.stat()
    except OSError as error:
        return f"{mountpoint}: {error.strerror}"
    return ""


def _mounted(mountpoint: Path) -> bool:
    wanted = os.path.abspath(mountpoint)  # noqa: PTH100 - resolve() would touch the mount
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            left, _, right = line.partition(" - ")
            point = left.split(" ")[4].encode().decode("unicode_escape")
            if point == wanted and right.startswith("fuse"):
                return True
    return False
