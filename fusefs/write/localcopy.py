"""Making bytes of a file's object local: for the readers of a removed file, and in place of copies.

The caller holds the file's `commit_lock`; `PendingChanges.state` is taken for each piece.
"""

import logging
from collections.abc import Callable
from functools import partial

from fusefs.errors import FsError
from fusefs.write.binding import Binding
from fusefs.write.overlay import Overlay
from fusefs.write.pending import PendingChanges
from fusefs.write.staged import Staged
from fusefs.write.staging import Staging
from fusefs.write.unsent import Unsent

log = logging.getLogger(__name__)

FETCH = 4 << 20  # bytes made local at once
# A file up to this size that is in the cache as a whole is kept for whoever has it open when its
# object goes; of a larger one only what the cache happens to have.
KEPT_MOST = FETCH


class LocalCopy:
    """Copies bytes of a file, the `owner`, into its staged file."""

    def __init__(
        self,
        staging: Staging,
        pending: PendingChanges,
        binding: Binding,
        overlay: Overlay,
    ) -> None:
        self._staging = staging
        self._pending = pending
        self._binding = binding
        self._overlay = overlay

    def keep(self, begin: Callable[[], Staged], owner: Unsent) -> bool:
        """Make a small file that is cached a staged one, which no eviction and no death takes.

        `begin` gives the staged file. No request is made. False where that can't be.
        """
        info = self._binding.info
        if info is None:
            return False
        with self._binding.content():  # so what is cached stays that of whoever has it open
            if info.size > KEPT_MOST or not self._staging.is_cached(info):
                return False
        fresh = self._pending.staged is None
        staged = begin()
        try:
            for low, high, written in list(staged.dirty.pieces(0, self._overlay.size)):
                if not written:
                    self._copy(staged, low, high)
        except (FsError, OSError) as error:
            log.debug("not kept for its readers", extra={"key": info.key, "error": str(error)})
            if fresh:
                self._pending.end(owner).discard()
            return False
        return True

    def fetch(self, staged: Staged, start: int, end: int, owner: Unsent) -> None:
        """Make a range local, with requests where the cache lacks it."""
        deadline = self._staging.deadline()
        for low in range(start, end, FETCH):
            high = min(end, low + FETCH)
            self._staging.with_room(partial(self._copy, staged, low, high), deadline, owner)

    def _copy(self, staged: Staged, low: int, high: int) -> None:
        piece = memoryview(bytearray(high - low))
        self._overlay.read(low, piece)
        with self._pending.state:
            staged.write(low, piece)
