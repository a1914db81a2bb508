"""Requests that the store may still carry out although nobody waits for their answers any more.

A store that has received a request carries it out whatever becomes of its sender: of a worker that
was killed, or of a connection that timed out. The next try of the same request makes the same
object, so this does no harm as long as the object is there. Once it has been removed, or renamed,
the late request makes it anew: a file that a program has deleted comes back.

Here is noted which objects a request without an answer may still make (`expect`), and which of
them were removed since (`removed`). For half a minute the store is asked for those, at growing
intervals, and what has come back is deleted. It is known by its size and its metadata, whose times
in nanoseconds no two writers share; what has no metadata is left alone. So is what we have put
there since (`making`), and what was moved with all of its metadata, for somebody may move it back.
It is deleted by version, and only where the store honours that: others may replace it at any time.

Any thread; `_lock` guards all that is noted, a leaf, never held over a request. Nothing is
deleted under a key while an object is made there, or was since it was looked at: who makes one
waits for a DELETE under way. The thread that asks ends when nothing is left to be asked for.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.errors import FsError, NotFound, Stale
from fusefs.locks import Rank
from fusefs.objects import ObjectInfo

log = logging.getLogger(__name__)

# Seconds for which a request may be under way in a store whose sender is gone. SeaweedFS was seen
# to take one while it makes room.
LATE_SECONDS = 30.0
# At its end a process waits until a request is so old, and looks for as long at most; what comes
# later stays.
ENDING_SECONDS = 3.0
FIRST_LOOK, LONGEST_PAUSE = 0.2, 16.0  # seconds
MOST, MADE_MOST = 1000, 8  # keys that are remembered, and the last tries of each

Metadata = Mapping[str, str]


@dataclass(slots=True)
class _Expected:
    """What late requests may make of a key, and since when they are late (monotonic seconds)."""

    since: float
    made: deque[tuple[int, Metadata]] = field(default_factory=lambda: deque(maxlen=MADE_MOST))
    removed: bool = False
    pause: float = FIRST_LOOK
    look_at: float = 0.0
    makings: int = 0  # requests of ours that put an object there since

    def is_made(self, found: ObjectInfo) -> bool:
        metadata = found.headers.metadata if found.headers is not None else {}
        return any(size == found.size and metadata == sent for size, sent in self.made)


class LateRequests:
    """The late requests of one store; `head` and `delete` are the store's.

    `delete` deletes one version and never another: it raises where the store can't do that.

    At its end a mount waits until a request is `ending` seconds old.
    """

    def __init__(
        self,
        head: Callable[[str], ObjectInfo],
        delete: Callable[[str, str], None],
        ending: float = ENDING_SECONDS,
    ) -> None:
        self._ending = ending
        self._head = head
        self._delete = delete
        self._lock = locks.lock(Rank.LEAF)
        self._changed = threading.Condition(self._lock)
        self._expected: dict[str, _Expected] = {}
        self._made_now: dict[str, int] = {}
        self._deleting: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def expect(self, key: str, size: int, metadata: Metadata) -> None:
        """Note that an object, which we have not removed yet, may still be made."""
        if not metadata:
            return
        with self._lock:
            expected = self._expected.pop(key, None) or _Expected(0.0)
            expected.since, expected.removed = time.monotonic(), False
            expected.made.append((size, metadata))
            self._expected[key] = expected
            while len(self._expected) > MOST:
                del self._expected[next(iter(self._expected))]

    def removed(self, key: str) -> None:
        """Note that we removed an object, or gave it another key and other times."""
        if not self._expected:  # read without the lock: who expects something has done so before
            return
        now = time.monotonic()
        with self._lock:
            expected = self._expected.get(key)
            if expected is None or self._stopped or _old(expected, now):
                return
            expected.removed, expected.pause = True, FIRST_LOOK
            expected.look_at = now + FIRST_LOOK
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="late-requests", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Surround a request that puts an object there: late ones find it then, and do nothing."""
        self.begin_making(key)
        made = False
        try:
            yield
            made = True
        finally:
            self.end_making(key, made)

    def begin_making(self, key: str) -> None:
        """Note a request that puts an object there, as `making` does; `end_making` follows.

        Waits for a DELETE of what came late, which might be for an object with the same bytes.
        """
        with self._lock:
            while key in self._deleting:
                self._changed.wait()
            self._made_now[key] = self._made_now.get(key, 0) + 1
            if key in self._expected:
                self._expected[key].makings += 1

    def end_making(self, key: str, made: bool) -> None:
        """Note the end of a request that began; `made`: the object is there."""
        with self._lock:
            if made and key in self._expected:
                self._expected[key].removed = False
            self._made_now[key] -= 1
            if not self._made_now[key]:
                del self._made_now[key]

    def present(self, key: str) -> None:
        """Note that an object of ours is there."""
        if not self._expected:
            return
        with self._lock:
            expected = self._expected.get(key)
            if expected is not None:
                expected.removed = False

    def made(self, found: ObjectInfo) -> bool:
        """Say whether an object was made by a late request after we had removed it."""
        with self._lock:
            expected = self._expected.get(found.key)
            return expected is not None and expected.removed and expected.is_made(found)

    def settle(self, stop: threading.Event) -> None:
        """Wait until all that was removed is old enough, and look once more; `stop` ends that."""
        while (left := self._watched()) and not stop.is_set():
            old = max(each.since for each in left.values()) + self._ending - time.monotonic()
            if old <= 0:
                break
            stop.wait(min(old, FIRST_LOOK))
        until = time.monotonic() + ENDING_SECONDS
        for key in left:
            if stop.is_set() or time.monotonic() > until:
                return
            with bulkhead("a look for what came late", key=key):
                self._look(key)

    def _watched(self) -> dict[str, _Expected]:
        with self._lock:
            return self._removed()

    def _removed(self) -> dict[str, _Expected]:
        return {key: each for key, each in self._expected.items() if each.removed}

    def close(self) -> None:
        """Ask for nothing any more."""
        with self._lock:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(1.0)  # it may wait for a store that doesn't answer

    def _run(self) -> None:
        while (due := self._due()) is not None:
            for key in due:
                with bulkhead("a look for what came late", key=key):
                    self._look(key)

    def _due(self) -> list[str] | None:
        """Wait until keys are to be asked for; None when there are none, or at the end."""
        with self._lock:
            while True:
                now = time.monotonic()
                self._forget(now)
                watched = self._removed()
                if self._stopped or not watched:
                    self._thread = None
                    return None
                due = [key for key, each in watched.items() if each.look_at <= now]
                if due:
                    for each in map(watched.__getitem__, due):
                        each.pause = min(2 * each.pause, LONGEST_PAUSE)
                        each.look_at = now + each.pause
                    return due
                self._changed.wait(min(each.look_at for each in watched.values()) - now)

    def _forget(self, now: float) -> None:
        for key in [key for key, each in self._expected.items() if _old(each, now)]:
            del self._expected[key]

    def _look(self, key: str) -> None:
        with self._lock:
            expected = self._expected.get(key)
            makings = expected.makings if expected is not None else 0
        if expected is None or not expected.removed:
            return
        try:
            found = self._head(key)
            with self._deletion(key, expected, makings) as right:
                if right and expected.is_made(found):
                    self._delete(key, found.etag)
                    log.warning("removed again: a request of before came late", extra={"key": key})
        except (NotFound, Stale):
            return  # nothing came, or somebody was faster
        except FsError as error:
            log.debug("not known what came late", extra={"key": key, "error": str(error)})

    @contextmanager
    def _deletion(self, key: str, expected: _Expected, makings: int) -> Iterator[bool]:
        """Keep others from making an object; False where one was made since it was looked at."""
        with self._lock:
            same = self._expected.get(key) is expected and expected.makings == makings
            busy = key in self._made_now or key in self._deleting
            right = same and expected.removed and not busy
            if right:
                self._deleting.add(key)
        try:
            yield right
        finally:
            if right:
                with self._lock:
                    self._deleting.remove(key)
                    self._changed.notify_all()


def _old(expected: _Expected, now: float) -> bool:
    return now - expected.since > LATE_SECONDS
