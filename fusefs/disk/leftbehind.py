"""A directory whose files a person inspects and removes; until then they count as used space.

Its files are never evicted. Their removal is noticed when space runs short.

Any thread; the lock is a leaf, held over a look at the directory.
"""

import os
from contextlib import suppress
from pathlib import Path

from fusefs import locks
from fusefs.disk.space import Account, Space
from fusefs.locks import Rank


class LeftBehind:
    """The files in `directory`, which need not be there."""

    def __init__(self, space: Space, directory: Path) -> None:
        self._directory = directory
        self._account = Account(space)
        self._lock = locks.lock(Rank.LEAF)
        self._sizes: dict[str, int] = {}
        self.recount()
        space.evictor(self._given_back, self._explanation)

    def recount(self) -> int:
        """Count the files again; return how many bytes were freed since the last count."""
        with self._lock:
            before, now = self._sizes, _sizes(self._directory)
            self._sizes = {name: before.get(name, size) for name, size in now.items()}
        gone = sum(size for name, size in before.items() if name not in now)
        self._account.found(sum(size for name, size in now.items() if name not in before))
        self._account.give(gone)
        return gone

    def _given_back(self, _: int) -> int:
        return self.recount() if self._sizes else 0

    def _explanation(self) -> str:
        held = self._account.held
        return f"{held} of them kept in {self._directory} until you remove them" if held else ""


def _sizes(directory: Path) -> dict[str, int]:
    found = {}
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # removed at this moment
                found[entry.name] = 512 * entry.stat().st_blocks
    return found
