"""Is a mount well? It is a FUSE mount, and its root answers in time.

A file system whose daemon hangs blocks whoever touches it, so the question is asked from a thread
that is left behind when the process exits.
"""

import os
import sys
import threading
from pathlib import Path


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
        os._exit(1)  # the thread hangs in the kernel and would keep us
    return 1 if reason else 0


def _reason(mountpoint: Path) -> str:
    """Return what is wrong, or ''."""
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
