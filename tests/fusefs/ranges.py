"""A store in memory for tests of readers: counts GETs, waits, fails, and changes on request."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fusefs.errors import FsError, NotFound, Stale


@dataclass
class FakeRanges:
    """Objects by key as (etag, content); `gets` are the ranges asked for."""

    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    latency: float = 0.0
    chunk: int = 64 * 1024
    gets: list[tuple[int, int]] = field(default_factory=list)
    failures: list[FsError] = field(default_factory=list)
    gate: threading.Event | None = None
    gated: Callable[[int], bool] = lambda offset: True
    stop_after: int | None = None
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, content: bytes, etag: str = "e1") -> None:
        self.objects[key] = (etag, content)

    @property
    def fetched(self) -> int:
        return sum(length for _, length in self.gets)

    def get_into(
        self,
        key: str,
        etag: str,
        offset: int,
        view: memoryview,
        arrived: Callable[[int], None],
    ) -> None:
        with self.lock:
            self.gets.append((offset, len(view)))
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            failure = self.failures.pop(0) if self.failures else None
        try:
            time.sleep(self.latency)
            if failure is not None:
                raise failure
            self._fill(key, etag, offset, view, arrived)
        finally:
            with self.lock:
                self.running -= 1

    def _fill(
        self,
        key: str,
        etag: str,
        offset: int,
        view: memoryview,
        arrived: Callable[[int], None],
    ) -> None:
        if key not in self.objects:
            raise NotFound(key)
        found, content = self.objects[key]
        if found != etag:
            raise Stale(key)
        for at in range(0, len(view), self.chunk):
            if self.stop_after is not None and at >= self.stop_after:
                self._wait(offset)
            piece = content[offset + at : offset + min(at + self.chunk, len(view))]
            view[at : at + len(piece)] = piece
            arrived(at + len(piece))
        if self.stop_after is None:
            self._wait(offset)

    def _wait(self, offset: int) -> None:
        if self.gate is not None and self.gated(offset):
            self.gate.wait(30)
