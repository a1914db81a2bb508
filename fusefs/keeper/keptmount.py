"""One mount of the keeper: its descriptor, and the record that the next worker needs.

Standard library only, like all of the keeper, and used from its one thread.
"""

import json
import os
import select
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from fusefs.keeper import partition
from fusefs.kernel import mountcalls

FUSE_DEVICE = os.makedev(10, 229)  # Documentation/admin-guide/devices.txt
# A mount that nobody serves is given up after this: its requests can't be killed, so whoever waits
# for one could never end. The kubelet's longest pause between two starts of a container is 300 s.
ABANDONED_SECONDS = 900.0


def log(level: str, event: str, **fields: object) -> None:
    """Write one JSON line to stderr: the keeper does without `logging`."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"event": event, **fields, "level": level, "timestamp": now, "part": "keeper"}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


class KeptMount:
    """A mount, its descriptor (-1 while orphaned) and the worker that serves it.

    `number` is its device number in the mount table; "" while not mounted by us.

    `mountpoint` is resolved up to its last component, as the mount table shows it; the last one may
    be a mount whose server is dead. `source`: a text for the mount table, "" for none. `partition`:
    the absolute path of the tmpfs that it is in (see the module), where the configured mountpoint
    is a symbolic link to it; "" for none.
    """

    def __init__(
        self,
        name: str,
        mountpoint: str,
        source: str = "",
        *,
        read_only: bool,
        partition: str = "",
    ) -> None:
        parent, last = os.path.split(mountpoint)
        self.name = name
        self._path = os.path.join(os.path.realpath(parent), last)  # noqa: PTH118 - pathlib
        self.partition = partition
        self.mountpoint = os.path.join(partition, last) if partition else self._path  # noqa: PTH118
        self.source = f"{mountcalls.SOURCE}:{source}" if source else mountcalls.SOURCE
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
        return cls(
            str(mount["name"]),
            str(mount["mountpoint"]),
            str(mount.get("bucket", "")),
            read_only=bool(mount.get("readOnly", False)),
            partition=str(mount.get("partition", "")),
        )

    def record(self) -> dict[str, object]:
        """Return the values that `restore` needs beside the descriptor, ready for JSON."""
        return {
            "number": self.number,
            "token": self.token,
            "taken": self.taken,
            "state": self.state,
            "backings": self.backings,
        }

    def restore(self, record: Mapping[str, object], device: int) -> None:
        """Resume a mount whose descriptor and record were held."""
        state, backings = record.get("state"), record.get("backings")
        self.device, self.number = device, str(record.get("number", ""))
        self.token, self.taken = str(record.get("token", "")), bool(record.get("taken"))
        self.state = dict(state) if isinstance(state, dict) else None
        self.backings = dict(backings) if isinstance(backings, dict) else {}

    def end(self) -> None:
        """Close the descriptor, then unmount lazily.

        In this order the unmount can't wait for a worker that is dead.
        """
        self.close()
        try:
            self.unmount(abort=False)
        except OSError as error:
            log("error", "cannot unmount", mountpoint=self.mountpoint, error=str(error))

    def mounted(self) -> bool:
        """Return whether a mount of ours exists there, served or not."""
        return self.mountpoint in {path for path, _ in mountcalls.fuse_mounts()}

    def unmounted(self) -> bool:
        """Return whether it was unmounted from outside; an aborted mount is still in the table."""
        return bool(self.number) and not self.alive() and not self._in_table()

    def condition(self) -> str:
        """Return its state for the status."""
        if self.device < 0:
            return "orphaned"
        return "unmounted" if self.unmounted() else "mounted"

    def adopt(self, device: int, token: str) -> None:
        """Take the descriptor of the existing mount from its worker."""
        self.close()
        numbers = [number for path, number in mountcalls.fuse_mounts() if path == self.mountpoint]
        self.device, self.token, self.taken = device, token, True
        self.number = numbers[-1] if numbers else ""

    def _in_table(self) -> bool:
        return (self.mountpoint, self.number) in mountcalls.fuse_mounts()

    def mount(self, *, abort: bool = True) -> None:
        """Mount anew; an old mount is unmounted lazily, and with `abort` its requests fail."""
        self.close()
        self.unmount(abort=abort)
        device = mountcalls.open_device()
        try:
            with self._place() as place:
                mountcalls.mount(
                    device,
                    self.mountpoint,
                    at=place,
                    read_only=self.read_only,
                    allow_other=True,
                    source=self.source,
                )
        except OSError:
            os.close(device)
            raise
        self.adopt(device, os.urandom(8).hex())
        self.taken, self.state, self.backings = False, None, {}
        log("info", "mounted", mount=self.name, mountpoint=self.mountpoint)

    @contextmanager
    def _place(self) -> Iterator[str]:
        """Make the directory to mount at; yield its path, or one that stands for it."""
        if not self.partition:
            os.makedirs(self.mountpoint, exist_ok=True)  # noqa: PTH103 - pathlib costs 1.5 MiB
            yield os.path.realpath(self.mountpoint)
            return
        parent, name = os.path.split(self._path)
        os.makedirs(parent, exist_ok=True)  # noqa: PTH103
        if not os.path.lexists(self._path):
            os.symlink(os.path.relpath(self.mountpoint, parent), self._path)  # noqa: PTH211
        with partition.place(self.partition, name) as place:
            yield place

    def unmount(self, *, abort: bool) -> None:
        """Unmount lazily what is mounted at the path or below it; `abort` fails its requests.

        If our mount was unmounted from outside before, a mount there now is foreign and stays.
        """
        if self.number and not self._in_table():
            return
        for path in mountcalls.unmount_stale(self.mountpoint, abort=abort):
            log("info", "unmounted", mount=self.name, mountpoint=path)

    def close(self) -> None:
        """Close the descriptor."""
        if self.device >= 0:
            os.close(self.device)
            self.device = -1

    def alive(self) -> bool:
        """Return whether the kernel still has this connection: a dead one polls as an error."""
        return self.device >= 0 and _connected(self.device)


def end(mounts: Iterable[KeptMount]) -> None:
    """End mounts, then the tmpfs that they are in."""
    partitions = set()
    for each in mounts:
        each.end()
        partitions.add(each.partition)
    for path in partitions - {""}:
        try:
            partition.remove(path)
        except OSError as error:
            log("error", "cannot unmount", mountpoint=path, error=str(error))


def is_connection(device: int) -> bool:
    """Return whether a descriptor belongs to a living FUSE connection."""
    if device < 0:
        return False
    status = os.fstat(device)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == FUSE_DEVICE and _connected(device)


def _connected(device: int) -> bool:
    poll = select.poll()
    poll.register(device, 0)
    return not poll.poll(0)
