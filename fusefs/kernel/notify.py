"""Notifications to the kernel: caches that are out of date, requests to resend.

`Notifier` is the `interface.Invalidations` of this driver. Its calls only queue; one thread writes.
The kernel carries an invalidation out inside our write(2), and waits there for pages and
directories that are locked by a request we are answering: a thread in the middle of a request would
deadlock.

Threading: any thread may call; equal invalidations that wait are sent once. The lock guards the
queue only and is never held over a write.
"""

import errno
import logging
import os
import struct
import threading
from collections.abc import Callable, Sequence

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.interface import KnownName
from fusefs.kernel import wire
from fusefs.kernel.wire import Notify
from fusefs.locks import Rank

log = logging.getLogger(__name__)

# The attribute TTL makes up for a lost invalidation: past this many waiting, drop rather than grow.
MAX_WAITING = 65536
MAX_UNNEEDED = 4096  # likewise for nodes to be forgotten; the next ones come soon
# ENOENT: the kernel has no such node or name cached, so there is nothing to do.
# EINVAL, ENOTDIR: the node isn't what it was. ENOTCONN, ENODEV: the mount is gone.
EXPECTED = {
    errno.ENOENT, errno.EINVAL, errno.ENOTDIR, errno.ENOTEMPTY, errno.ENOTCONN, errno.ENODEV
}  # fmt: skip


def packet(code: Notify, *parts: bytes | memoryview) -> list[bytes | memoryview]:
    """Lay out one notification: `unique` is 0 and the code stands in the error field."""
    size = wire.OUT_HEADER.size + sum(map(len, parts))
    return [wire.OUT_HEADER.pack(size, code, 0), *parts]


def send_resend(device: int) -> None:
    """Have the kernel resend every request that was read and never answered."""
    os.writev(device, packet(Notify.RESEND))


class Notifier:
    """Queues invalidations for one connection; `kernel_ids(node)` returns its kernel ids."""

    def __init__(self, device: int, kernel_ids: Callable[[int], tuple[int, ...]]) -> None:
        self._device = device
        self._kernel_ids = kernel_ids
        self._waiting: dict[tuple[int, str | None], None] = {}
        self._unneeded: list[KnownName] = []
        self._prunes = True  # until the kernel refuses it
        self._wake = locks.condition(Rank.LEAF)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fuse-notify", daemon=True)

    def start(self) -> None:
        """Begin to send what is queued."""
        self._thread.start()

    def node_changed(self, node: int) -> None:
        """Invalidate a node's cached attributes and pages."""
        self._queue((node, None))

    def size_changed(self, kernel_id: int) -> None:
        """Invalidate a node's cached attributes, at once.

        An open file is read up to the size the kernel has cached, so this is sent before the answer
        to OPEN. It can't deadlock within a request: pages and locks aren't touched (off < 0).
        """
        body = wire.NOTIFY_INVAL_INODE_OUT.pack(kernel_id, -1, 0)
        self._write(kernel_id, packet(Notify.INVAL_INODE, body))

    def entry_changed(self, parent: int, name: str) -> None:
        """Invalidate a name."""
        self._queue((parent, name))

    def unneeded(self, names: Sequence[KnownName]) -> None:
        """Ask the kernel to forget nodes that are unused there."""
        with self._wake:
            if len(self._unneeded) < MAX_UNNEEDED:
                self._unneeded += names
                self._wake.notify()

    def close(self) -> None:
        """Stop the thread and drop its queue. To be called when the mount is gone."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _queue(self, change: tuple[int, str | None]) -> None:
        with self._wake:
            if len(self._waiting) >= MAX_WAITING:
                return
            self._waiting[change] = None
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._waiting or self._unneeded or self._closed):
                    self._wake.wait()
                if self._closed:
                    return
                change = next(iter(self._waiting), None)
                self._waiting.pop(change or (0, None), None)
                unneeded: list[KnownName] = []
                if change is None:
                    unneeded, self._unneeded = self._unneeded, unneeded
            with bulkhead("an invalidation", node=change[0] if change is not None else 0):
                if change is not None:
                    for kernel_id in self._kernel_ids(change[0]):
                        self._send(kernel_id, change[1])
                elif unneeded:
                    self._take_back(unneeded)

    def _take_back(self, names: Sequence[KnownName]) -> None:
        """Linux 6.18 takes node numbers, and prunes unused ones; older ones are sent each name.

        Names in use are dropped too, so not those of directories: a working directory may be one.
        """
        if self._prunes:
            numbers = [each for known in names for each in self._kernel_ids(known.node)]
            head = wire.NOTIFY_PRUNE_OUT.pack(len(numbers), 0, 0)
            body = struct.pack(f"={len(numbers)}Q", *numbers)
            try:
                os.writev(self._device, packet(Notify.PRUNE, head, body))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    return
                self._prunes = False
        if not self._prunes:
            for known in names:
                if not known.directory:
                    for kernel_id in self._kernel_ids(known.parent):
                        self._send(kernel_id, known.name)

    def _send(self, node: int, name: str | None) -> None:
        if name is None:
            # off 0, len 0: everything (fs/fuse/inode.c: a length <= 0 means to the end).
            body = wire.NOTIFY_INVAL_INODE_OUT.pack(node, 0, 0)
            message = packet(Notify.INVAL_INODE, body)
        else:
            raw = os.fsencode(name)
            body = wire.NOTIFY_INVAL_ENTRY_OUT.pack(node, len(raw), 0)
            message = packet(Notify.INVAL_ENTRY, body, raw + b"\0")
        self._write(node, message)

    def _write(self, node: int, message: list[bytes | memoryview]) -> None:
        try:
            os.writev(self._device, message)
        except OSError as error:
            if error.errno not in EXPECTED:
                log.warning("the kernel refused an invalidation of node %d: %s", node, error)
