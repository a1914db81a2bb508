"""Bytes of objects by way of the node's cache: what one pod of a node fetched, the others read.

A range of blocks is read from the node where it is there, and fetched from the store by one worker
alone where it isn't: it puts the blocks there, and the others wait for it, for a limited time. Each
reader compares every block with its CRC32. Whatever the node's cache can't do, the store does.

Not here: how the node is asked (`mount.nodecacheclient`), the mount's own cache (`cache`).
Threading: any thread; nothing is locked.
"""

import logging
import os
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fusefs.cache.blockindex import BLOCK, HUGE, Identity
from fusefs.counters import Count, Counters
from fusefs.crc32 import crc32

log = logging.getLogger(__name__)

# Seconds that others may take to fetch what is needed here; then it is fetched here, too.
WAIT_SECONDS = 10.0
# Seconds between two questions for what others fetch: the first pause, and up to which it doubles.
PAUSE, LONGEST_PAUSE = 0.02, 0.16
# Seconds in which nobody is waited for, once that was in vain.
IMPATIENT_SECONDS = 60.0

Arrived = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Lent:
    """Blocks that the node has, one after the other: a descriptor to be closed, their CRC32s."""

    descriptor: int
    sums: Sequence[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """So many blocks are to be fetched by who asked, and kept or quit then; 0: others do it."""

    blocks: int


class NodeBlocks(Protocol):
    """The cache of the node: the plugin's, or a fake of it. No method raises."""

    def find(self, version: Identity, first: int, last: int, *, doubt: bool) -> Lent | Turn | None:
        """Return what the node has or wants of these blocks; None if it doesn't answer."""

    def keep(self, version: Identity, first: int, sums: Sequence[int], data: memoryview) -> None:
        """Give the node the blocks of a turn."""

    def quit(self, version: Identity, first: int, last: int) -> None:
        """Give a turn up."""

    def close(self) -> None:
        """Ask no more."""


class RangeSource(Protocol):
    """Where bytes come from: the store, or a fake of it."""

    def get_into(
        self,
        key: str,
        etag: str,
        offset: int,
        view: memoryview,
        arrived: Arrived,
    ) -> None:
        """Fill `view` with the object's bytes from `offset`, of the version `etag` only.

        Calls `arrived` with the number of bytes in place as they come in, and with `len(view)`
        in the end: what wasn't said to have arrived isn't used. Raises `Stale` when the key has
        another ETag now, `NotFound`, `AccessDenied`, `Unavailable` after its own retries.
        Once it returned or raised, it doesn't touch `view` any more: it is reused.
        """


class NodeSource:
    """The store, with the node's cache before it where there is one."""

    def __init__(
        self,
        store: RangeSource,
        blocks: NodeBlocks | None,
        counters: Counters,
        wait: float = WAIT_SECONDS,
    ) -> None:
        """`wait`: seconds that others may take to fetch what is needed here."""
        self._store = store
        self._blocks = blocks
        self._counters = counters
        self._wait = wait
        self._closed = threading.Event()
        self._waits_from = 0.0  # monotonic seconds

    def get_into(self, version: Identity, offset: int, view: memoryview, arrived: Arrived) -> None:
        """Fill `view` with the version's bytes from `offset`; as `RangeSource.get_into`."""
        end = offset + len(view)
        whole = not offset % BLOCK and (end == version.size or not end % BLOCK)
        if self._blocks is None or not whole or version.size > HUGE:
            self._store.get_into(version.key, version.etag, offset, view, arrived)
            return
        done = 0
        while done < len(view):
            more = partial(_from, arrived, done)
            done += self._some(self._blocks, version, offset + done, view[done:], more)

    def close(self) -> None:
        """Wait for nobody any more."""
        self._closed.set()
        if self._blocks is not None:
            self._blocks.close()

    def _some(
        self,
        blocks: NodeBlocks,
        version: Identity,
        offset: int,
        view: memoryview,
        arrived: Arrived,
    ) -> int:
        """Fill some of `view`; return how many bytes."""
        first, last = offset // BLOCK, -(-(offset + len(view)) // BLOCK)
        until, pause, doubt = time.monotonic() + self._wait, PAUSE, False
        while True:
            found = blocks.find(version, first, last, doubt=doubt)
            if isinstance(found, Lent):
                done = self._copy(found, version, offset, view)
                if done or doubt:
                    arrived(done)
                    return done or self._fetch(version, offset, view, arrived)
                doubt = True
            elif isinstance(found, Turn) and found.blocks:
                return self._lead(blocks, version, offset, view, arrived, found.blocks)
            elif found is None or not self._waits(until, pause):
                return self._fetch(version, offset, view, arrived)
            else:
                pause = min(2 * pause, LONGEST_PAUSE)

    def _waits(self, until: float, pause: float) -> bool:
        """Wait a moment for who fetches; False if that takes too long."""
        now = time.monotonic()
        if now > until:
            log.warning("others took too long to fetch for this node")
            self._waits_from = now + IMPATIENT_SECONDS
        return now >= self._waits_from and not self._closed.wait(pause)

    def _copy(self, lent: Lent, version: Identity, offset: int, view: memoryview) -> int:
        """Copy the blocks that are what their CRC32 says, up to the first that isn't."""
        try:
            got = os.preadv(lent.descriptor, [view[: len(lent.sums) * BLOCK]], offset)
        except OSError as error:
            log.warning("the node's cache of %s can't be read: %s", version.key, error)
            got = 0
        finally:
            os.close(lent.descriptor)
        done = 0
        for wanted in lent.sums:
            data = view[done : min(done + BLOCK, got)]
            if len(data) < min(BLOCK, len(view) - done) or crc32(data) != wanted:
                break
            done += len(data)
        self._counters.add(Count.NODE_READ, done)
        return done

    def _fetch(self, version: Identity, offset: int, view: memoryview, arrived: Arrived) -> int:
        self._counters.add(Count.NODE_PASSED, len(view))
        self._store.get_into(version.key, version.etag, offset, view, arrived)
        return len(view)

    def _lead(
        self,
        blocks: NodeBlocks,
        version: Identity,
        offset: int,
        view: memoryview,
        arrived: Arrived,
        count: int,
    ) -> int:
        """Fetch the blocks of a turn and give them to the node."""
        first, data = offset // BLOCK, view[: count * BLOCK]
        try:
            self._store.get_into(version.key, version.etag, offset, data, arrived)
        except BaseException:
            blocks.quit(version, first, first + count)
            raise
        starts = range(0, len(data), BLOCK)
        sums = array("I", (crc32(data[start : start + BLOCK]) for start in starts))
        blocks.keep(version, first, sums, data)
        self._counters.add(Count.NODE_KEPT, len(data))
        return len(data)


def _from(arrived: Arrived, base: int, count: int) -> None:
    arrived(base + count)
