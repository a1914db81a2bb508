"""The kernel's mount table, read without touching any mount."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

OWN_PREFIX = "s3mount-test-"
_CONTROL = Path("/sys/fs/fuse/connections")


def connection_of(mountpoint: Path) -> int | None:
    """Return the FUSE connection number of what is mounted there, None if nothing is.

    It is the minor number of the mount's device; `/sys/fs/fuse/connections` is named by it.
    """
    found = None
    for where, device in _mounts():
        if where == mountpoint:
            found = int(device.partition(":")[2])  # the last one lies on top
    return found


def _mounts() -> list[tuple[Path, str]]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    fields = [line.split(" ") for line in lines]
    return [(Path(_unescape(row[4])), row[2]) for row in fields]


def _unescape(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)


def abort(connection: int) -> None:
    """Fail all requests of a connection, present and to come, with ENOTCONN; root only."""
    control = _CONTROL / str(connection) / "abort"
    if not _CONTROL.is_mount():
        subprocess.run(["mount", "-t", "fusectl", "none", _CONTROL], check=False, timeout=10)
    if control.exists():
        control.write_text("1")


def detach(mountpoint: Path) -> None:
    """Take a mount out of the table however busy it is."""
    for command in (["umount", "-l"], ["fusermount", "-uz"]):
        done = subprocess.run([*command, mountpoint], check=False, timeout=10, capture_output=True)
        if done.returncode == 0:
            return


def sweep() -> None:
    """Remove mounts and directories of earlier test runs whose process is gone."""
    for where, device in _mounts():
        if _left_behind(where):
            abort(int(device.partition(":")[2]))
            detach(where)
    for directory in Path(tempfile.gettempdir()).glob(f"{OWN_PREFIX}*"):
        if _left_behind(directory):
            shutil.rmtree(directory, ignore_errors=True)


def _left_behind(path: Path) -> bool:
    owner = re.search(rf"/{OWN_PREFIX}(\d+)-", str(path))
    return owner is not None and not Path(f"/proc/{owner[1]}").exists()
