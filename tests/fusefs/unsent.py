"""Files that S3 lacks something of, without content or a store: what a commit does is told."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fusefs.write.retrystate import RetryState
from fusefs.write.unsent import DirtySet


class Pretended:
    """A dirty file whose commit calls `act`, and leaves `dirty` where that raises nothing."""

    def __init__(
        self, key: str, dirty: DirtySet, act: Callable[[], object] = lambda: None, size: int = 1
    ) -> None:
        self.key = key
        self.node = 0
        self.size = self.unsent = size
        self.commit_lock = threading.RLock()
        self.retry = RetryState()
        self.tries = 0
        self._dirty = dirty
        self._act = act
        dirty.add(self)

    def commit(self) -> bool:
        """Count a try, and do what was told."""
        self.tries += 1
        self._act()
        self._dirty.discard(self)
        return True

    def relieve(self) -> bool:
        """Free space by a commit."""
        return self.commit()

    def copies_from(self, prefix: str) -> bool:
        """Nothing is another's."""
        del prefix
        return False


def fails(error: Exception) -> Callable[[], None]:
    """Return what raises this error."""

    def act() -> None:
        raise error

    return act
