"""One mount as the keeper holds it: its descriptor, and what the next worker has to know.

Standard library only, like all of the keeper, and used from its one thread.
"""

import json
import os
import select
import stat
import sys
import time
from collections.abc import Mapping

from fusefs.kernel import mountcalls

FUSE_DEVICE = os.makedev(10, 229)  # Documentation/admin-guide/devices.txt


def log(level: str, event: str, **fields: object) -> None:
    """Write one JSON line to stderr: the keeper does without `logging`."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"event": event, **fields, "level": level, "timestamp": now, "part": "keeper"}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


class KeptMount:
    """A mount, its descriptor (-1 while orphaned) and who serves it.

    `number` is its device's, as the mount table shows it; "" while nothing of ours is mounted.

    `mountpoint` is resolved up to its last component, as the mount table shows it; the last one may
    be a mount whose server is dead.
    """

    def __init__(self, name: str, mountpoint: str, *, read_only: bool) -> None:
        parent, last = os.path.split(mountpoint)
        self.name = name
        self.mountpoint = os.path.join(os.path.realpath(parent), last)  # noqa: PTH118 - pathlib
        self.read_only = read_only
        self.device = -1
        self.number = ""
        self.token = ""
        self.owner: object | None = None
        self.taken = False
        self.state: dict[str, object] | None = None
        self.backings: dict[str, object] = {}

    @classmethod
    def of(cls, mount: Mapping[str, object]) -> "KeptMount":
        """Return a mount of the configuration, not mounted yet."""
        read_only = bool(mount.get("readOnly", False))
        return cls(str(mount["name"]), str(mount["mountpoint"]), read_only=read_only)

    def record(self) -> dict[str, object]:
        """Return what `restore` needs beside the descriptor, as JSON knows it."""
        return {
            "number": self.number,
            "token": self.token,
            "taken": self.taken,
            "state": self.state,
            "backings": self.backings,
        }

    def restore(self, record: Mapping[str, object], device: int) -> None:
        """Go on with a mount whose descriptor and record somebody has kept."""
        state, backings = record.get("state"), record.get("backings")
        self.device, self.number = device, str(record.get("number", ""))
        self.token, self.taken = str(record.get("token", "")), bool(record.get("taken"))
        self.state = dict(state) if isinstance(state, dict) else None
        self.backings = dict(backings) if isinstance(backings, dict) else {}

    def end(self) -> None:
        """Unmount lazily and let go of it.

        The descriptor first: without it, the end of a mount whose worker is dead can't wait for it.
        """
        self.close()
        try:
            self.unmount(abort=False)
        except OSError as error:
            log("error", "cannot unmount", mountpoint=self.mountpoint, error=str(error))

    def mounted(self) -> bool:
        """Say whether something of ours is mounted there, whoever serves it."""
        return self.mountpoint in {path for path, _ in mountcalls.fuse_mounts()}

    def unmounted(self) -> bool:
        """Say whether somebody took our mount away; one that was aborted only is still there."""
        return bool(self.number) and not self.alive() and not self._in_table()

    def condition(self) -> str:
        """Return the word that the status has for it."""
        if self.device < 0:
            return "orphaned"
        return "unmounted" if self.unmounted() else "mounted"

    def adopt(self, device: int, token: str) -> None:
        """Take the descriptor of what is mounted there from whoever serves it."""
        self.close()
        numbers = [number for path, number in mountcalls.fuse_mounts() if path == self.mountpoint]
        self.device, self.token, self.taken = device, token, True
        self.number = numbers[-1] if numbers else ""

    def _in_table(self) -> bool:
        return (self.mountpoint, self.number) in mountcalls.fuse_mounts()

    def mount(self, *, abort: bool = True) -> None:
        """Mount anew; what was there is unmounted lazily, and with `abort` its requests fail."""
        self.close()
        self.unmount(abort=abort)
        os.makedirs(self.mountpoint, exist_ok=True)  # noqa: PTH103 - pathlib costs 1.5 MiB
        device = mountcalls.open_device()
        try:
            mountcalls.mount(device, self.mountpoint, read_only=self.read_only, allow_other=True)
        except OSError:
            os.close(device)
            raise
        self.adopt(device, os.urandom(8).hex())
        self.taken, self.state, self.backings = False, None, {}
        log("info", "mounted", mount=self.name, mountpoint=self.mountpoint)

    def unmount(self, *, abort: bool) -> None:
        """Take away what is mounted at the path or below it, at once; `abort` its requests.

        Where somebody took our mount away before, what is there now is theirs.
        """
        if self.number and not self._in_table():
            return
        for path in mountcalls.unmount_stale(self.mountpoint, abort=abort):
            log("info", "unmounted", mount=self.name, mountpoint=path)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.device >= 0:
            os.close(self.device)
            self.device = -1

    def alive(self) -> bool:
        """Say whether the kernel still has this connection: a dead one polls as an error."""
        return self.device >= 0 and _connected(self.device)


def is_connection(device: int) -> bool:
    """Say whether a descriptor is that of a mount that lives."""
    if device < 0:
        return False
    status = os.fstat(device)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == FUSE_DEVICE and _connected(device)


def _connected(device: int) -> bool:
    poll = select.poll()
    poll.register(device, 0)
    return not poll.poll(0)
