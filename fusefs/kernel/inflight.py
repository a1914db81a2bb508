"""The requests in flight: how long they take, and whether their callers are being killed.

The kernel reports the first signal only, not its number, and releases a caller when the request is
answered: a caller killed while the store stalls would hang for minutes. So a request whose caller
is being killed is answered EINTR, and its work goes on; the kernel takes its outcome for unknown. A
signal that isn't fatal must not reach the application: file operations aren't interrupted. Pending
signals are read from /proc if the caller is visible; a caller in another PID namespace is released
`BLIND_SECONDS` after the signal.

Threading: readers begin and end requests; a thread of its own looks at those that are interrupted,
while there are any. `_lock` guards the tables and is a leaf.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusefs import locks
from fusefs.bulkhead import bulkhead
from fusefs.kernel.threads import begun
from fusefs.kernel.wire import Opcode
from fusefs.locks import Rank

LOOK_SECONDS = 0.1
# Less than a pod's grace period of 30 s, more than a store's usual hiccup.
BLIND_SECONDS = 15.0
KILL_PENDING = 1 << 8  # SIGKILL, which any fatal signal becomes (kernel/signal.c)


# A worker that ends has to finish these: until then their work is half done.
CHANGES = frozenset(
    {Opcode.SETATTR, Opcode.SETXATTR, Opcode.REMOVEXATTR, Opcode.CREATE}
    | {Opcode.SYMLINK, Opcode.MKNOD, Opcode.MKDIR, Opcode.UNLINK, Opcode.RMDIR}
    | {Opcode.RENAME, Opcode.RENAME2, Opcode.WRITE, Opcode.FALLOCATE, Opcode.COPY_FILE_RANGE}
    | {Opcode.COPY_FILE_RANGE_64, Opcode.FLUSH, Opcode.FSYNC, Opcode.RELEASE, Opcode.SYNCFS}
)


@dataclass(slots=True)
class _Waiting:
    opcode: int
    pid: int
    began: float
    interrupted_at: float = 0.0


class InFlight:
    """The requests in flight; `give_up(unique)` answers one with EINTR.

    `blind_seconds`: how long a caller in another PID namespace waits after a signal.
    """

    def __init__(
        self, give_up: Callable[[int], None], blind_seconds: float = BLIND_SECONDS
    ) -> None:
        self._give_up = give_up
        self._blind_seconds = blind_seconds
        self._lock = locks.lock(Rank.LEAF)
        self._waiting: dict[int, _Waiting] = {}
        self._looking = False
        self.answered = 0  # requests that have ended; only grows

    def begin(self, unique: int, opcode: int, pid: int) -> None:
        """Note a request; `pid` is its caller's, 0 in another PID namespace."""
        waiting = _Waiting(opcode, pid, time.monotonic())
        with self._lock:
            self._waiting[unique] = waiting

    def end(self, unique: int) -> bool:
        """Note that a request is about to be answered; False if it was given up before."""
        with self._lock:
            self.answered += 1
            return self._waiting.pop(unique, None) is not None

    def passed(self) -> None:
        """Note a request that was answered without having been in flight."""
        with self._lock:
            self.answered += 1

    def has(self, unique: int) -> bool:
        """Return whether a request is in flight and not given up."""
        with self._lock:
            return unique in self._waiting

    def oldest(self) -> float:
        """Return for how many seconds the longest request has been under way, 0.0 for none."""
        with self._lock:
            began = min((each.began for each in self._waiting.values()), default=0.0)
        return time.monotonic() - began if began else 0.0

    def changes(self, before: float) -> int:
        """Return how many modifying requests that began before a monotonic time are in flight."""
        with self._lock:
            left = list(self._waiting.values())
        return sum(each.opcode in CHANGES and each.began < before for each in left)

    def interrupt(self, unique: int) -> bool:
        """Note that a request's caller got a signal; False if it isn't in flight."""
        with self._lock:
            found = self._waiting.get(unique)
            if found is None:
                return False
            found.interrupted_at = time.monotonic()
            if not self._looking:  # where there can be no thread, the next signal tries again
                self._looking = begun(self._look, "fuse-interrupts") is not None
        return True

    def _look(self) -> None:
        while hopeless := self._hopeless():
            for unique in hopeless:
                with bulkhead("giving up a request"):
                    if unique and self.end(unique):
                        self._give_up(unique)
            time.sleep(LOOK_SECONDS)

    def _hopeless(self) -> list[int]:
        """Return the requests to give up, and a 0 while others are interrupted."""
        with self._lock:
            left = {u: each for u, each in self._waiting.items() if each.interrupted_at}
            if not left:
                self._looking = False
                return []
        now = time.monotonic()
        return [0, *(unique for unique, each in left.items() if self._is_hopeless(each, now))]

    def _is_hopeless(self, waiting: _Waiting, now: float) -> bool:
        """Return whether a caller is being killed, or is invisible and has waited long enough."""
        pending = _pending(waiting.pid) if waiting.pid else None
        if pending is None:
            return now - waiting.interrupted_at > self._blind_seconds
        return bool(pending & KILL_PENDING)


def _pending(pid: int) -> int | None:
    """Return a thread's pending signals as a mask; None if it is invisible."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    lines = (line.partition(":") for line in status.splitlines())
    found = [int(value, 16) for name, _, value in lines if name in ("SigPnd", "ShdPnd")]
    return found[0] | found[1] if len(found) == 2 else None
