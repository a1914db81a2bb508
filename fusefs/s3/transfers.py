"""What is on its way to the store: objects sent whole, and uploads whose parts are being sent.

Reported where somebody asks what a mount is doing (`mount.diagnosis`); no decision depends on it.

Threading: any thread; the lock is a leaf. One note is a dictionary operation.
"""

import time
from dataclasses import dataclass, field, replace

from fusefs import locks
from fusefs.locks import Rank


@dataclass(slots=True)
class Transfer:
    """One object to be; `parts` are those that arrived, `sent` their bytes, copied ones included.

    `upload` is empty for an object that is sent whole, `sent` then what is being sent.
    """

    key: str
    upload: str = ""
    parts: int = 0
    sent: int = 0
    began: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)


class Transfers:
    """The transfers of one bucket."""

    def __init__(self) -> None:
        self._lock = locks.lock(Rank.LEAF)
        self._running: dict[object, Transfer] = {}

    def all(self) -> list[Transfer]:
        """Return copies of all, oldest first."""
        with self._lock:
            return [replace(each) for each in self._running.values()]

    def whole(self, key: str, size: int) -> object:
        """Note an object that is sent whole; return what `end` takes."""
        token = object()
        with self._lock:
            self._running[token] = Transfer(key, sent=size)
        return token

    def begin(self, key: str, upload: str) -> None:
        """Note an upload without parts."""
        with self._lock:
            self._running[upload] = Transfer(key, upload)

    def part(self, key: str, upload: str, size: int) -> None:
        """Note a part that arrived, also of an upload that a former process began."""
        with self._lock:
            found = self._running.setdefault(upload, Transfer(key, upload))
            found.parts += 1
            found.sent += size
            found.moved = time.monotonic()

    def end(self, token: object) -> None:
        """Forget an object or an upload that is complete or given up."""
        with self._lock:
            self._running.pop(token, None)
