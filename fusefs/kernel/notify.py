"""What we tell the kernel unasked: caches that are out of date, requests to send again.

`Notifier` is the `interface.Invalidations` of this driver. Its calls only queue; one thread writes.
They must: the kernel carries an invalidation out inside our write(2) and waits there for pages and
directories that are locked by a request *we* are answering. A thread in the middle of a request
would wait for itself.

Threading: any thread may call; equal invalidations that wait are sent once. The lock guards the
queue only and is never held over a write.
"""

import errno
import logging
import os
import threading
from collections.abc import Callable

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.kernel import wire
from fusefs.kernel.wire import Notify
from fusefs.locks import Rank

log = logging.getLogger(__name__)

# An invalidation the kernel never saw is made good by the attribute TTL: past this many waiting,
# drop rather than grow.
MAX_WAITING = 65536
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
    """Ask for every request again that was read from the device and never answered."""
    os.writev(device, packet(Notify.RESEND))


class Notifier:
    """Queues invalidations for one connection; `kernel_ids` names a node's ids in the kernel."""

    def __init__(self, device: int, kernel_ids: Callable[[int], tuple[int, ...]]) -> None:
        self._device = device
        self._kernel_ids = kernel_ids
        self._waiting: dict[tuple[int, str | None], None] = {}
        self._wake = locks.condition(Rank.LEAF)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fuse-notify", daemon=True)

    def start(self) -> None:
        """Begin to send what is queued."""
        self._thread.start()

    def node_changed(self, node: int) -> None:
        """Have the kernel drop what it cached of a node's attributes and content."""
        self._queue((node, None))

    def size_changed(self, kernel_id: int) -> None:
        """Have the kernel ask for a node's attributes again, at once.

        An open file is read up to the size the kernel believes in, so this comes before the answer
        to OPEN. Not even within a request can it wait: pages and locks stay untouched (off < 0).
        """
        body = wire.NOTIFY_INVAL_INODE_OUT.pack(kernel_id, -1, 0)
        self._write(kernel_id, packet(Notify.INVAL_INODE, body))

    def entry_changed(self, parent: int, name: str) -> None:
        """Have the kernel look a name up again."""
        self._queue((parent, name))

    def close(self) -> None:
        """Stop the thread; what still waits is dropped. To be called when the mount is gone."""
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
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                node, name = next(iter(self._waiting))
                del self._waiting[node, name]
            with bulkhead("an invalidation", node=node):
                for kernel_id in self._kernel_ids(node):
                    self._send(kernel_id, name)

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
