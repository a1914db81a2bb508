"""The threads that read requests: as many as are in flight, plus one, within limits.

When all of them wait for something slow, a few more start one by one: there may be an interrupt to
read, or a request that the disk can answer. The last one allowed goes on reading: it queues
requests for the next free reader, so that the caller of a killed process is released whatever else
waits.

A reader that isn't needed rests: it waits, without a buffer, for the next time that none listens,
and ends after some seconds in which it wasn't needed. So a steady load starts no threads.

A request that waits for nothing is answered by the reader that listens, and it listens again
(`busypoll`); so is one that seldom waits (`brief`), and where it does, another reader listens
meanwhile. While there are no others, the other readers rest: taking turns, they would wait for the
interpreter's lock.

A request that waits for S3 keeps its own reader only: before it is answered another one listens
already. Buffers are `messages`: a reader that listens has one, and one with a large request.

Threading: `_lock` guards the counts and the ending; it is never held over a system call.
"""

import errno
import logging
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Protocol

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.kernel import brief
from fusefs.kernel.brief import BriefTurn, Watch
from fusefs.kernel.busypoll import BusyPoll
from fusefs.kernel.messages import SMALL, Messages
from fusefs.kernel.threads import begun
from fusefs.locks import Rank

log = logging.getLogger(__name__)

GONE = frozenset({errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED, errno.EBADF})
AGAIN = frozenset({errno.ENOENT, errno.EAGAIN, errno.EINTR})  # taken back while it was read

# Seconds that all readers may be busy before one more starts; at most this many times `most`.
RELIEF_SECONDS, RELIEF = 0.25, 4
# Bytes of queued requests; beyond them the last reader answers requests, too.
PARKED_MOST = 16 << 20
# Seconds that a reader rests before it ends, longer than a program's bursts are apart; how many do.
REST_SECONDS, RESTING_MOST = 5.0, 16
# In place of the size of a request: others listen, too; another one has begun to listen instead.
OTHERS, REPLACED = -1, -2

Scratch = Callable[[int], memoryview]


class Answerer(Protocol):
    """Answers requests; `KernelSession`."""

    def answer(self, message: memoryview, scratch: Scratch) -> None:
        """Carry out one request and send its reply."""

    def answer_now(self, message: memoryview) -> bool:
        """Answer a request that has to wait for nothing; False, and nothing done, for others."""

    def postpone(self, message: memoryview) -> bool:
        """Note a request that is answered later; False for one that must not wait."""

    def answer_postponed(self, message: memoryview, scratch: Scratch) -> None:
        """Answer it now, unless its caller was released meanwhile."""


class Ending(Enum):
    """Why there are no more requests."""

    UNMOUNTED = "unmounted"
    ABORTED = "connection aborted"


class Readers:
    """Reads requests from `device` and passes each to the answerer.

    `most` threads at a time, unless they stall; a thread rests if `spare` others are idle, and ends
    after `rest` seconds.
    """

    def __init__(
        self, device: int, answerer: Answerer, messages: Messages, *,
        most: int, spare: int, rest: float = REST_SECONDS,
    ) -> None:  # fmt: skip
        self.messages = messages
        self.device = device
        self.answerer = answerer
        self._most = most
        self._spare = spare
        self._rest = rest
        self._lock = locks.lock(Rank.LEAF)
        self._threads: set[_Reader] = set()  # without those that rest
        self._resting: list[_Reader] = []  # the last to begin is needed first, so the others end
        self._idle = 0
        self._relieving = False
        self._parked: deque[bytes] = deque()
        self._parked_bytes = 0
        self.watch = Watch()
        self.in_a_row = 0  # brief requests that didn't wait, as far as can be told without the lock
        self._ended = threading.Event()
        self._ending: Ending | None = None

    @property
    def ended(self) -> bool:
        """Whether there are no more requests."""
        return self._ended.is_set()

    def start(self) -> None:
        """Begin with one reader; others follow when they are needed."""
        with self._lock:
            self._add()

    def wait(self, timeout: float | None = None) -> Ending | None:
        """Wait for the end of the mount and of the readers; None when `timeout` s passed before."""
        if not self._ended.wait(timeout):
            return None
        with self._lock:
            threads = [*self._threads, *self._resting]
        for thread in threads:
            thread.join(timeout=5)
        self.watch.close()
        return self._ending

    def busy(self) -> bool:
        """Note that a reader has a request, and let another one listen; False if none can."""
        with self._lock:
            self._idle -= 1
            if self._idle:
                return True
            if len(self._threads) < self._most:
                self._add()
            elif len(self._threads) >= RELIEF * self._most:
                return False
            elif not self._relieving:
                self._relieving = begun(self._relieve, "fuse-relief") is not None
            return True

    def park(self, message: memoryview, *, crowded: bool = False) -> bool:
        """Queue a request for the next free reader; False if its own reader must answer.

        `crowded`: idle readers have no buffer to listen with, large requests have them all.
        """
        if not self.answerer.postpone(message):
            return False
        with self._lock:
            if (self._idle and not crowded) or self._parked_bytes + len(message) > PARKED_MOST:
                return False
            self._parked.append(bytes(message))
            self._parked_bytes += len(message)
            self._idle += 1
            return True

    def _relieve(self) -> None:
        """Start one more reader, if after a while still none listens."""
        time.sleep(RELIEF_SECONDS)
        with self._lock:
            self._relieving = False
            if not self._idle and len(self._threads) < RELIEF * self._most:
                self._add()

    def free(self, reader: "_Reader") -> bytes | None:
        """Note that a reader is free; return a queued request, or an empty one to listen.

        Where there are enough readers without it, it rests first; None at the end of that.
        """
        with self._lock:
            if self._parked and self._idle:  # another one listens
                parked = self._parked.popleft()
                self._parked_bytes -= len(parked)
                return parked
            if self._idle < self._spare:
                self._idle += 1
                return b""
            if not self._rests(reader):
                return None
        return b"" if self._needed(reader) else None

    def several_listen(self) -> bool:
        """Return whether more than one reader listens, as far as can be told without the lock."""
        return self._idle > 1

    def may_be_replaced(self) -> bool:
        """Return whether there may be one more reader, as far as can be told without the lock."""
        return len(self._threads) < self._most

    def spare(self, reader: "_Reader") -> bool:
        """Have a listening reader rest, if another one listens, too; False at the end of that."""
        with self._lock:
            if not self.several_listen():
                return True
            self._idle -= 1
            if not self._rests(reader):
                return False
        return self._needed(reader)

    def _rests(self, reader: "_Reader") -> bool:
        """Note that a reader rests, or that it ends, for enough do; the lock is held."""
        self._threads.discard(reader)
        if self.ended or len(self._resting) >= RESTING_MOST:
            return False
        self._resting.append(reader)
        return True

    def _needed(self, reader: "_Reader") -> bool:
        """Wait until a resting reader is needed; False if it wasn't for long enough to end."""
        with suppress(Empty):
            reader.needed.get(timeout=self._rest)
            return True
        with self._lock:
            if reader in self._resting:
                self._resting.remove(reader)
                return False
        reader.needed.get()  # it is needed since just now
        return True

    def receive(self, buffer: memoryview) -> int:
        """Read one request; 0 when the mount is gone."""
        while not self._ended.is_set():
            try:
                size = os.readv(self.device, [buffer])
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
        if self._resting:
            reader = self._resting.pop()
            reader.needed.put(None)
        else:
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
            for reader in self._resting:
                reader.needed.put(None)
            self._threads.update(self._resting)
            self._resting.clear()


class _Reader(threading.Thread):
    """One thread, and the buffers it has at the moment."""

    def __init__(self, readers: Readers) -> None:
        super().__init__(name="fuse-reader", daemon=True)
        self._readers = readers
        self._messages = readers.messages
        self.needed: SimpleQueue[None] = SimpleQueue()
        self._answer: mmap.mmap | None = None
        self._polling = BusyPoll(readers.device)
        self._turn = BriefTurn(readers.watch)

    def run(self) -> None:
        """Serve until the mount is gone or there are readers enough."""
        self._readers.watch.add(self._turn)
        try:
            while self._serve():
                pass
        finally:
            self._readers.watch.remove(self._turn)

    def _serve(self) -> bool:
        """Read one request and answer it, or keep it for another; False at the end."""
        readers, requests = self._readers, self._messages.requests
        buffer = self._listening()
        if buffer is None:
            return False
        size = self._received(buffer)
        if size == REPLACED:
            return self._freed()
        if size == OTHERS:
            requests.give(buffer)
            return readers.spare(self)
        large = size > SMALL
        message = memoryview(buffer)[:size] if large else memoryview(buffer[:size])
        if not large:
            requests.give(buffer)
        if not size:
            return False
        readers.in_a_row = 0
        crowded = large and requests.exhausted
        if (not readers.busy() or crowded) and readers.park(message, crowded=crowded):
            if large:
                requests.give(buffer)
            return True
        self._answered(readers.answerer.answer, message)
        if large:
            requests.give(buffer)
        return self._freed()

    def _freed(self) -> bool:
        """Answer queued requests; return whether it is to listen again."""
        readers = self._readers
        while parked := readers.free(self):
            self._answered(readers.answerer.answer_postponed, memoryview(parked))
        return parked is not None

    def _received(self, buffer: mmap.mmap) -> int:
        """Answer what doesn't wait; return the size of a request that may, 0 at the end.

        OTHERS after a row of answers, where others listen, too; REPLACED after one that did wait.
        """
        readers, view = self._readers, memoryview(buffer)
        self._polling.start()
        size = readers.receive(view)
        while 0 < size <= SMALL:
            if readers.answerer.answer_now(view[:size]):
                ends = self._polling.answered()
            elif brief.is_brief(view[:size]) and readers.may_be_replaced():
                if not self._answered_briefly(buffer, size):
                    return REPLACED
                readers.in_a_row += 1
                ends = readers.in_a_row >= brief.ROW
                self._polling.start()
            else:
                break
            if ends and readers.several_listen():
                return OTHERS
            self._polling.wait()
            size = readers.receive(view)
        return size

    def _answered_briefly(self, buffer: mmap.mmap, size: int) -> bool:
        """Answer a request; return whether this is still the reader that listens."""
        answer, message = self._readers.answerer.answer, memoryview(buffer[:size])
        return self._turn.answer(
            lambda: self._answered(answer, message), lambda: self._replaced(buffer)
        )

    def _replaced(self, buffer: mmap.mmap) -> None:
        """Let another reader listen with the buffer, and go on with the answer."""
        self._messages.requests.give(buffer)
        self._readers.in_a_row = 0
        self._readers.busy()

    def _answered(self, answer: Callable[[memoryview, Scratch], None], message: memoryview) -> None:
        with bulkhead("an answer to the kernel"):
            answer(message, self._room)
        if self._answer is not None:
            self._messages.answers.give(self._answer)
            self._answer = None

    def _listening(self) -> mmap.mmap | None:
        """Return a buffer to listen with, as soon as a large request has ended; None at the end."""
        while not self._readers.ended:
            buffer = self._messages.requests.take(timeout=1.0)
            if buffer is not None:
                return buffer
        return None

    def _room(self, size: int) -> memoryview:
        if size > self._messages.size:
            raise OSError(errno.EINVAL, f"an answer of {size} bytes was never negotiated")
        if size <= SMALL:
            return memoryview(bytearray(size))
        if self._answer is None:
            self._answer = self._messages.answers.take()
        assert self._answer is not None  # noqa: S101 - without a timeout it comes
        return memoryview(self._answer)[:size]
