"""Copies of our own that give an object of the store another identity, while it is being read.

A GET that finds another version then waits for the end of the copy: it may be the reason. The
condition's lock, that of `readpool`, guards everything.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

# Seconds that a failed GET waits for the end of a copy of ours that may have caused it.
MOVE_SECONDS = 60.0


class Moves:
    """How many copies of one version are under way; `moved` is notified at the end of each."""

    def __init__(self, moved: Condition) -> None:
        self._moved = moved
        self._count = 0

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a copy, as long as the block lasts."""
        with self._moved:
            self._count += 1
        try:
            yield
        finally:
            with self._moved:
                self._count -= 1
                self._moved.notify_all()

    def settled(self, renamed: Callable[[], bool]) -> bool:
        """Return `renamed()` after the copies under way, or as soon as it is; the lock is held."""
        self._moved.wait_for(lambda: not self._count or renamed(), MOVE_SECONDS)
        return renamed()
