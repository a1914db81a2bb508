"""HEADs of many objects, many of them in flight, by one thread.

A thread for each request in flight costs three times as much as the request: threads take the
interpreter's lock from each other. So while HEADs are wanted, one thread sends them on idle
connections and reads the answers as they come. What that can't do, a thread of the pool does by
itself, with all that `client` does for a request: the first HEADs, for which connections have to be
opened, a HEAD that isn't answered by 200 or 404, and all where there is no fast path.

Any thread asks. `_lock` guards what is asked for and not sent yet, and is a leaf; the connections
belong to the thread that runs.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from threading import Event

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.counters import Count
from fusefs.errors import FsError, NotFound, Unavailable
from fusefs.locks import Rank
from fusefs.objects import ObjectInfo
from fusefs.s3.fastpath import Begun, Unclear
from fusefs.s3.store import Store

AT_ONCE = 128
LOOK = 0.25  # seconds between looks for answers that are overdue
POLLS = hasattr(select, "epoll")  # Linux; elsewhere each HEAD has its thread


class SentHead:
    """A HEAD, and the time just before it was asked for (monotonic seconds)."""

    __slots__ = ("_came", "_done", "_error", "_info", "at", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.at = time.monotonic()
        self._info: ObjectInfo | None = None
        self._error: FsError | None = None
        self._done = False
        self._came: Event | None = None

    def answered(self, info: ObjectInfo | None, error: FsError | None = None) -> None:
        """Take the answer: the object, or the error of the store's."""
        self._info, self._error = info, error
        # One thread writes `_done` before it reads `_came`, the other writes `_came` before it
        # reads `_done`: whichever is later sees both.
        self._done = True
        came = self._came
        if came is not None:
            came.set()

    def result(self) -> ObjectInfo:
        """Wait for the answer. Raises NotFound, or another FsError of the store's."""
        if not self._done:
            locks.waits_for_store()
            came = self._came = Event()
            if not self._done:
                came.wait()
        if self._info is not None:
            return self._info
        raise self._error or NotFound(f"{self.key}: no such object")


class ManyHeads:
    """The HEADs of one store, at most `most` at once; threads are `pool`'s, two at least."""

    def __init__(self, store: Store, pool: Executor, most: int = AT_ONCE) -> None:
        self._store = store
        self._pool = pool
        self._most = most
        self._wanted: deque[SentHead] = deque()
        self._alone = 0  # HEADs that threads of their own send
        self._run: _Run | None = None
        self._lock = locks.lock(Rank.LEAF)

    def send(self, heads: Sequence[SentHead]) -> None:
        """Have HEADs sent in this order, without waiting. Raises Unavailable at a mount's end."""
        if not heads:
            return
        begun = None
        with self._lock:
            self._wanted.extend(heads)
            run = self._run
            if run is None:
                begun = self._run = _Run(self)
        if begun is not None:
            self._submit(begun)
        elif run is not None:
            run.wake()

    def _submit(self, run: "_Run") -> None:
        try:
            self._pool.submit(run.work)
        except FsError as error:
            run.close()
            self.broke_off(run, error)
            raise

    def broke_off(self, run: "_Run", error: FsError) -> None:
        """Answer what that run, which has ended, hasn't sent."""
        unsent: list[SentHead] = []
        with self._lock:
            if self._run is run:
                self._run, unsent = None, list(self._wanted)
                self._wanted.clear()
        for head in unsent:
            head.answered(None, error)

    def next(self, flying: int) -> SentHead | None:
        """Return the HEAD to send next, where no more than `flying` are on connections."""
        with self._lock:
            if not self._wanted or flying + self._alone >= self._most:
                return None
            return self._wanted.popleft()

    def is_over(self, run: "_Run") -> bool:
        """Return whether all that was asked for is answered; then that run is the last's."""
        with self._lock:
            if self._wanted or self._alone:
                return False
            if self._run is run:
                self._run = None
            return True

    def begin(self, head: SentHead) -> Begun | None:
        """Send a HEAD on an idle connection; None where there is none."""
        return self._store.begin_head(head.key) if POLLS else None

    def end(self, head: SentHead, begun: Begun) -> None:
        """Take an answer that is there. Raises Unclear for one that isn't one."""
        try:
            head.answered(self._store.end_head(head.key, begun))
        except NotFound:
            head.answered(None)

    def again(self, head: SentHead) -> None:
        """Have a HEAD sent again that has no answer."""
        self._store.counters.add(Count.RETRIED)
        self.alone(head)

    def alone(self, head: SentHead) -> None:
        """Have a HEAD sent by a thread of its own."""
        with self._lock:
            self._alone += 1
        try:
            self._pool.submit(self._send, head)
        except (FsError, RuntimeError) as error:  # the library's own error for a pool that ended
            refusal = error if isinstance(error, FsError) else Unavailable("the mount has ended")
            head.answered(None, refusal)
            self._ended()

    def _send(self, head: SentHead) -> None:
        try:
            head.answered(self._store.head(head.key))
        except FsError as error:
            head.answered(None, error)
        except BaseException:
            head.answered(None, Unavailable(f"{head.key}: see the log"))
            raise
        finally:
            del head  # its error's traceback has this frame: only a collection would end both
            self._ended()

    def _ended(self) -> None:
        with self._lock:
            self._alone -= 1
            run = self._run
        if run is not None:
            run.wake()


class _Run:
    """One time that HEADs are wanted: from the first until all are answered."""

    def __init__(self, heads: ManyHeads) -> None:
        self._heads = heads
        self._flying: dict[int, tuple[SentHead, Begun]] = {}
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._poll = select.epoll() if POLLS else select.poll()
        self._poll.register(self._woken, select.POLLIN)

    def wake(self) -> None:
        """Have it look again for what is wanted; it may be over."""
        try:
            self._waker.send(b"\0")
        except OSError:
            """It is awake, or over."""

    def work(self) -> None:
        """Send what is wanted, and take the answers."""
        looked = time.monotonic()
        try:
            while not self._over():
                with bulkhead("HEADs of a scan", pause=LOOK):
                    self._fill()
                    for number, _ in self._poll.poll(LOOK if POLLS else LOOK * 1000):
                        self._take(number)
                    if time.monotonic() - looked > LOOK:
                        looked = time.monotonic()
                        self._drop_overdue(looked)
        finally:
            self.close()
            error = Unavailable("HEADs of a scan broke off: see the log")
            self._heads.broke_off(self, error)
            for head, _ in self._flying.values():
                head.answered(None, error)

    def _over(self) -> bool:
        return not self._flying and self._heads.is_over(self)

    def close(self) -> None:
        """Close the means of being woken."""
        self._woken.close()
        self._waker.close()

    def _fill(self) -> None:
        while (head := self._heads.next(len(self._flying))) is not None:
            begun = None
            try:
                begun = self._heads.begin(head)
            finally:
                if begun is None:
                    self._heads.alone(head)
            if begun is not None:
                self._flying[begun.fileno()] = head, begun
                self._poll.register(begun.fileno(), select.POLLIN)

    def _take(self, number: int) -> None:
        found = self._flying.get(number)
        if found is None:
            self._woken.recv(1 << 12)
            return
        head, begun = found
        try:
            if begun.receive():
                self._landed(number)
                self._heads.end(head, begun)
        except (OSError, Unclear):
            self._lost(number, head, begun)
        except Exception:
            self._lost(number, head, begun)  # a bug costs nobody the answer
            raise

    def _lost(self, number: int, head: SentHead, begun: Begun) -> None:
        self._landed(number)
        begun.close()
        self._heads.again(head)

    def _landed(self, number: int) -> None:
        if self._flying.pop(number, None) is not None:
            self._poll.unregister(number)

    def _drop_overdue(self, now: float) -> None:
        for number, (head, begun) in list(self._flying.items()):
            if begun.overdue < now:
                self._lost(number, head, begun)
