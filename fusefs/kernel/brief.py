"""Brief requests: the reader that listens answers them itself, and listens again.

To hand a request to another reader, and the interpreter's lock with it, takes longer than the
request does. Brief are those that wait for nobody if all goes well: what is known of a name, an
open of what is cached or fetched, a small read of it, the end of a reader's handle. Where one has
to wait after all, another reader takes the listening over: at once if who waits says so
(`waiting`), else when `Watch` sees it, after some milliseconds. From then on it is a request like
any other.

Not here: reads of what is in memory (`session`), the readers (`readers`).

Threading: `BriefTurn._lock`, a leaf, guards who ends a turn; `Watch._lock`, another one, its turns.
"""

import os
import struct
import threading
import time
from collections.abc import Callable

from fusefs import locks, waiting
from fusefs.bulkhead import bulkhead
from fusefs.kernel import wire
from fusefs.kernel.messages import SMALL
from fusefs.kernel.threads import begun
from fusefs.kernel.wire import Opcode
from fusefs.locks import Rank

# Seconds that a brief request may take unseen; the watch looks so often, and ends when idle.
LONG, IDLE = 0.01, 1.0
# Answers in a row after which one reader is enough; whoever else listens rests.
ROW = 16

BRIEF = frozenset({Opcode.LOOKUP, Opcode.GETATTR, Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.IOCTL})
_UINT32 = struct.Struct("=I")
_OPCODE_AT = 4
# Where these have the flags of the handle, or the size.
_AT = {
    Opcode.OPEN: wire.IN_HEADER.size,
    Opcode.RELEASE: wire.IN_HEADER.size + 8,
    Opcode.READ: wire.IN_HEADER.size + 16,
}


def is_brief(message: memoryview) -> bool:
    """Return whether a request is one of those that seldom wait; of handles, a reader's."""
    if len(message) < wire.IN_HEADER.size:
        return False
    (opcode,) = _UINT32.unpack_from(message, _OPCODE_AT)
    if opcode in BRIEF:
        return True
    place = _AT.get(opcode)
    if place is None or len(message) < place + _UINT32.size:
        return False
    (found,) = _UINT32.unpack_from(message, place)
    if opcode == Opcode.READ:
        return bool(found <= SMALL)
    return found & os.O_ACCMODE == os.O_RDONLY and not found & os.O_TRUNC


def _nothing() -> None:
    """For a reader that hasn't answered anything yet."""


class BriefTurn:
    """One reader's answers to brief requests, one at a time."""

    def __init__(self, watch: "Watch") -> None:
        self.began = 0.0  # monotonic; 0 while nothing is answered, or another listens already
        self._watch = watch
        self._leave = _nothing
        self._lock = locks.lock(Rank.LEAF)

    def answer(self, work: Callable[[], object], leave: Callable[[], None]) -> bool:
        """Do `work`, which answers a request; return whether this reader still listens.

        `leave` has another one listen; it may be called by the watch, and end after this.
        """
        self._leave = leave
        self.began = time.monotonic()
        if not self._watch.looks():
            self.over()  # nobody would see that it takes long
        waiting.listened(work, self.over)
        with self._lock:
            listens, self.began = self.began > 0, 0.0
        return listens

    def over(self) -> None:
        """Have another reader listen, once: this one waits."""
        with self._lock:
            if not self.began:
                return
            self.began, leave = 0.0, self._leave
        with bulkhead("listening in place of a reader that waits"):
            leave()


class Watch:
    """Ends turns that take long; its thread is there while there are turns."""

    def __init__(self, long: float = LONG, idle: float = IDLE) -> None:
        self._long = long
        self._idle = idle
        self._lock = locks.lock(Rank.LEAF)
        self._turns: set[BriefTurn] = set()
        self._looking = self._asked = False
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, turn: BriefTurn) -> None:
        """Watch a reader's turns from now on."""
        with self._lock:
            self._turns.add(turn)

    def remove(self, turn: BriefTurn) -> None:
        """Watch them no longer."""
        with self._lock:
            self._turns.discard(turn)

    def looks(self) -> bool:
        """Look at the turn that has just begun, too; False where there can be no thread for it."""
        self._asked = True
        if self._looking:
            return True
        with self._lock:
            if not self._looking:
                self._thread = begun(self._look, "fuse-watch")
                self._looking = self._thread is not None
            return self._looking

    def close(self) -> None:
        """End the thread; the readers have ended."""
        with self._lock:
            self._closed = self._looking = True  # nobody starts another one
        thread = self._thread
        if thread is not None:
            thread.join(timeout=5)

    def _look(self) -> None:
        quiet = time.monotonic()
        while not self._closed:
            time.sleep(self._long)
            now = time.monotonic()
            if self._asked:
                self._asked, quiet = False, now
            with bulkhead("watching brief requests"):
                self._end_long(now)
            if now - quiet > self._idle and self._ended():
                return

    def _end_long(self, now: float) -> None:
        for turn in self._all():
            began = turn.began
            if began and now - began > self._long:
                turn.over()

    def _ended(self) -> bool:
        """Stop looking, unless a turn has begun that took us to go on."""
        with self._lock:
            self._looking = False
        if not any(turn.began for turn in self._all()):
            return True
        with self._lock:
            ended, self._looking = self._looking, True
        return ended  # another thread looks already

    def _all(self) -> list[BriefTurn]:
        with self._lock:
            return list(self._turns)
