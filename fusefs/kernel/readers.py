"""The threads that read requests: as many as are under way, plus one, within limits.

When all of them wait for something slow, a few more follow one by one: there may be an interrupt to
be read, or a request that the disk can answer.

Each reader has a buffer for requests and, once it needs one, a second for large answers. A request
that waits for S3 keeps its own reader only: before it is answered another one listens already.

Threading: `_lock` guards the counts and the ending; it is never held over a system call.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from enum import Enum

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.locks import Rank

log = logging.getLogger(__name__)

GONE = frozenset({errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED, errno.EBADF})
AGAIN = frozenset({errno.ENOENT, errno.EAGAIN, errno.EINTR})  # taken back while it was read

# How long all readers may be busy before there is one more, and how many times `most` in the end.
RELIEF_SECONDS, RELIEF = 0.25, 4

Scratch = Callable[[int], memoryview]
AnswerRequest = Callable[[memoryview, Scratch], None]


class Ending(Enum):
    """Why there are no more requests."""

    UNMOUNTED = "unmounted"
    ABORTED = "connection aborted"


class Readers:
    """Reads from `device` and has `answer` called with each request and a maker of buffers.

    `most` threads at a time, unless they stall; one that finds `spare` others idle ends. Buffers
    have `size` bytes.
    """

    def __init__(
        self, device: int, answer: AnswerRequest, *, size: int, most: int, spare: int
    ) -> None:
        self.size = size
        self._device = device
        self.answer = answer
        self._most = most
        self._spare = spare
        self._lock = locks.lock(Rank.LEAF)
        self._threads: set[_Reader] = set()
        self._idle = 0
        self._relieving = False
        self._ended = threading.Event()
        self._ending: Ending | None = None

    def start(self) -> None:
        """Begin with one reader; others follow when they are needed."""
        with self._lock:
            self._add()

    def wait(self, timeout: float | None = None) -> Ending | None:
        """Wait for the end of the mount and of the readers; None when `timeout` s passed before."""
        if not self._ended.wait(timeout):
            return None
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout=5)
        return self._ending

    def busy(self) -> None:
        """Note that a reader has a request, and see to it that another one listens."""
        with self._lock:
            self._idle -= 1
            if self._idle:
                return
            if len(self._threads) < self._most:
                self._add()
            elif not self._relieving:
                self._relieving = True
                threading.Thread(target=self._relieve, name="fuse-relief", daemon=True).start()

    def _relieve(self) -> None:
        """Have somebody listen, if after a while still nobody does."""
        time.sleep(RELIEF_SECONDS)
        with self._lock:
            self._relieving = False
            if not self._idle and len(self._threads) < RELIEF * self._most:
                self._add()

    def free(self, reader: "_Reader") -> bool:
        """Note that a reader is done; False when there are enough without it."""
        with self._lock:
            if self._idle >= self._spare:
                self._threads.discard(reader)
                return False
            self._idle += 1
            return True

    def receive(self, buffer: memoryview) -> int:
        """Read one request; 0 when there will be none any more."""
        while not self._ended.is_set():
            try:
                size = os.readv(self._device, [buffer])
            except OSError as error:
                if error.errno in AGAIN:
                    continue
                if error.errno not in GONE:
                    log.exception("the FUSE device can't be read")
                self._end(Ending.UNMOUNTED if error.errno == errno.ENODEV else Ending.ABORTED)
                return 0
            if size:
                return size
            self._end(Ending.UNMOUNTED)
        return 0

    def _add(self) -> None:
        reader = _Reader(self)
        try:
            reader.start()
        except RuntimeError as error:
            log.warning("no thread for another reader: %s", error)
            return
        self._threads.add(reader)
        self._idle += 1

    def _end(self, ending: Ending) -> None:
        with self._lock:
            if self._ending is None:
                self._ending = ending
        self._ended.set()


class _Reader(threading.Thread):
    """One thread and its buffers."""

    def __init__(self, readers: Readers) -> None:
        super().__init__(name="fuse-reader", daemon=True)
        self._readers = readers
        self._scratch: memoryview | None = None

    def run(self) -> None:
        """Serve until the mount is gone or there are readers enough."""
        readers, buffer = self._readers, memoryview(bytearray(self._readers.size))
        while size := readers.receive(buffer):
            readers.busy()
            with bulkhead("an answer to the kernel"):
                readers.answer(buffer[:size], self._room)
            if not readers.free(self):
                return

    def _room(self, size: int) -> memoryview:
        if size > self._readers.size:
            raise OSError(errno.EINVAL, f"an answer of {size} bytes was never negotiated")
        if self._scratch is None:
            self._scratch = memoryview(bytearray(self._readers.size))
        return self._scratch[:size]
