"""Which calls say that they wait, so that the driver's reader is replaced meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from fusefs import waiting
from fusefs.disk import pagecache
from fusefs.interface import ROOT
from tests.fusefs.unmounted import Unmounted, begun
from tests.servers.s3 import Bucket
from tests.waiting import until

CONTENT = os.urandom(30_000)


def told(work: Callable[[], object]) -> bool:
    """Do something; return whether it said that it waits."""
    said: list[bool] = []
    waiting.listened(work, lambda: said.append(True))
    return bool(said)


def test_what_asks_the_store_says_so_and_what_is_known_does_not(
    unmounted: Unmounted, bucket: Bucket
) -> None:
    """Of a name, its attributes, an open, a small read and a close."""
    bucket.put("f", CONTENT)
    calls = unmounted.calls
    assert told(lambda: calls.lookup(ROOT, "f"))
    node = calls.lookup(ROOT, "f").node
    assert not told(lambda: calls.getattr(node))
    assert told(lambda: calls.open(node, os.O_RDONLY))  # close-to-open
    handle = calls.open(node, os.O_RDONLY).handle
    view = memoryview(bytearray(len(CONTENT)))
    calls.read_into(handle, 0, view)
    until(lambda: calls.read_now(handle, 0, view) == len(CONTENT))
    assert not told(lambda: calls.read_into(handle, 0, view[:100]))
    assert not told(lambda: calls.release(handle))


def test_an_open_that_waits_for_another_one_says_so(unmounted: Unmounted, bucket: Bucket) -> None:
    """Opens of one file take turns, each as long as the store takes."""
    bucket.put("f", CONTENT)
    number = unmounted.node("f")
    node, said = unmounted.mounted.filesystem.tree.get(number), threading.Event()

    def opened() -> None:
        waiting.listened(lambda: unmounted.calls.open(number, os.O_RDONLY), said.set)

    with node.lock:
        done = begun(opened)
        assert said.wait(10) and not done.done()
    done.result(10)


def test_a_read_says_that_it_waits_for_the_disk_only_if_it_does(tmp_path: Path) -> None:
    """What is in the page cache is copied; the bytes are the same."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    view = memoryview(bytearray(4096))
    if pagecache.in_memory(descriptor, 8192, view):  # not on every file system
        assert not told(lambda: pagecache.read(descriptor, 8192, view))
        assert view == CONTENT[8192:][:4096]
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    assert told(lambda: pagecache.read(descriptor, 4096, view))
    assert view == CONTENT[4096:][:4096]
    assert pagecache.read(descriptor, len(CONTENT) - 5, view) == 5
    assert view[:5] == CONTENT[-5:]
    os.close(descriptor)
