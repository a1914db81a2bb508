"""What can go wrong between a client and a store.

A fault sees a request at four points (`arrive`, `upload`, `answer`, `download`) and changes what
happens there. Frozen values; one may be used by many threads at once.

    Cut                 the connection to the client ends here
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.proxy.wire import Head

Pause = Callable[[float], None]


class Cut(Exception):
    """Ends the connection to the client, by a reset or by an orderly close."""

    def __init__(self, reset: bool = True) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


@dataclass(frozen=True)
class Refusal:
    """An answer of the proxy's own, in place of the store's."""

    status: int
    code: str


class Fault:
    """The fault that does nothing."""

    def arrive(self, pause: Pause) -> Refusal | None:
        """Act on a request before the store sees it; what is returned is the answer."""
        del pause
        return None

    def upload(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Act on the request's body."""
        return blocks

    def answer(self, head: Head) -> bytes:
        """Act on the head of the store's answer: the request has been carried out by now."""
        return head.raw

    def download(self, blocks: Iterator[bytes], pause: Pause) -> Iterator[bytes]:
        """Act on the answer's body."""
        del pause
        return blocks


@dataclass(frozen=True)
class Status(Fault):
    """The store refuses: 500 InternalError unless told otherwise."""

    status: int = 500
    code: str = "InternalError"

    def arrive(self, pause: Pause) -> Refusal:
        del pause
        return Refusal(self.status, self.code)


SLOW_DOWN = Status(503, "SlowDown")
ACCESS_DENIED = Status(403, "AccessDenied")
EXPIRED_TOKEN = Status(400, "ExpiredToken")


@dataclass(frozen=True)
class Reset(Fault):
    """The connection breaks after `after` bytes of the answer's body."""

    after: int = 0
    orderly: bool = False

    def download(self, blocks: Iterator[bytes], pause: Pause) -> Iterator[bytes]:
        left = self.after
        for block in blocks:
            yield block[:left]
            left -= len(block)
            if left <= 0:
                raise Cut(reset=not self.orderly)


def truncated(after: int = 0) -> Reset:
    """Return the fault that closes in good order before the announced end of the body."""
    return Reset(after, orderly=True)


@dataclass(frozen=True)
class ResetUpload(Fault):
    """The connection breaks after `after` bytes of the request's body: nothing is stored."""

    after: int = 0

    def upload(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        left = self.after
        for block in blocks:
            left -= len(block)
            if left <= 0:
                raise Cut
            yield block


@dataclass(frozen=True)
class SlowUpload(Fault):
    """The request's body comes through at so many bytes per second."""

    rate: int

    def upload(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            time.sleep(len(block) / self.rate)
            yield block


@dataclass(frozen=True)
class LostAnswer(Fault):
    """The store does what was asked, and the client never hears of it."""

    def answer(self, head: Head) -> bytes:
        raise Cut


@dataclass(frozen=True)
class WrongEtag(Fault):
    """The answer names another ETag than the object has."""

    etag: str = '"00000000000000000000000000000bad"'

    def answer(self, head: Head) -> bytes:
        return head.replacing("etag", self.etag) if "etag" in head.headers else head.raw


@dataclass(frozen=True)
class Corrupt(Fault):
    """One byte of the answer's body is another one."""

    at: int = 0

    def download(self, blocks: Iterator[bytes], pause: Pause) -> Iterator[bytes]:
        position = 0
        for block in blocks:
            inside = self.at - position
            position += len(block)
            if 0 <= inside < len(block):
                yield block[:inside] + bytes([block[inside] ^ 0xFF]) + block[inside + 1 :]
            else:
                yield block


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing happens for a while before the store sees the request."""

    seconds: float

    def arrive(self, pause: Pause) -> None:
        pause(self.seconds)


@dataclass(frozen=True)
class Hold(Fault):
    """Requests stay where they are, unseen by the store, until `let_go`.

    None is held for more than a minute, whatever becomes of the test.
    """

    _go: threading.Event = field(default_factory=threading.Event)
    _came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def arrive(self, pause: Pause) -> None:
        self._came.release()
        self._go.wait(60)

    def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Return when `count` more requests are held; TimeoutError when they don't come."""
        for number in range(count):
            if not self._came.acquire(timeout=seconds):
                raise TimeoutError(f"only {number} of {count} requests came in {seconds} s")

    def let_go(self) -> None:
        """Let them all go on, and those that come."""
        self._go.set()


@dataclass(frozen=True)
class HeldAnswer(Hold):
    """The store has done what was asked, and its answer waits until `let_go`."""

    def arrive(self, pause: Pause) -> None:
        """Let the request through."""

    def answer(self, head: Head) -> bytes:
        self._came.release()
        self._go.wait(60)
        return head.raw


@dataclass(frozen=True)
class StalledBody(Fault):
    """The answer's body stops for a while after `after` bytes."""

    seconds: float
    after: int = 0

    def download(self, blocks: Iterator[bytes], pause: Pause) -> Iterator[bytes]:
        passed, stalled = 0, False
        for block in blocks:
            if not stalled and passed + len(block) > self.after:
                yield block[: self.after - passed]
                pause(self.seconds)
                stalled, block = True, block[self.after - passed :]
            passed += len(block)
            yield block
