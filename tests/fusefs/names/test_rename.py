"""Renames that meet other calls: nobody waits for ever, and every file has its new name."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

import pytest

from fusefs.errors import NotFound
from fusefs.interface import ROOT, Caller, Change
from tests.fusefs.unmounted import Unmounted, begun
from tests.proxy.exchange import on
from tests.proxy.faults import Hold
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

HANG = 30.0  # seconds after which a call counts as hanging
CALLER = Caller(0, 0)


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Requests that are held back until the test ends, or lets them go."""
    hold = Hold()
    yield hold
    hold.let_go()


def read(unmounted: Unmounted, path: str, size: int) -> bytes:
    """Read a file by its path."""
    calls = unmounted.calls
    handle = calls.open(unmounted.node(path), os.O_RDONLY).handle
    view = bytearray(size)
    count = calls.read_into(handle, 0, memoryview(view))
    calls.release(handle)
    return bytes(view[:count])


def test_a_file_replaced_while_its_directory_is_renamed_blocks_nobody(
    unmounted: Unmounted, proxy: Proxy, bucket: Bucket, hold: Hold
) -> None:
    """Open, copied, replaced by another client, looked up, while fchmod runs: all of it ends."""
    bucket.put("d/f", b"old")
    calls, mounted = unmounted.calls, unmounted.mounted
    directory, node = unmounted.node("d"), unmounted.node("d/f")
    handle = calls.open(node, os.O_RDONLY).handle
    lists = itertools.count(1)
    proxy.inject(hold, lambda seen: seen.query.get("prefix") == "d/" and next(lists) == 2)
    moving = begun(calls.rename, ROOT, "d", ROOT, "e")
    hold.wait_for(1)  # all is copied; it lists again what is to be deleted
    bucket.put("d/f", b"newer")
    found = mounted.files.get(handle).node
    found.checked = float("-inf")
    found.parent.listing = None  # type: ignore[union-attr]
    assert calls.lookup(directory, "f").size == 5
    assert found.info is not None and found.info.size == 5
    changing = begun(calls.setattr, node, Change(mode=0o600), handle)
    deadline = time.monotonic() + HANG
    while found.lock.acquire(blocking=False) and time.monotonic() < deadline:
        found.lock.release()  # not taken by the change of mode yet
    hold.let_go()
    moving.result(HANG)
    changing.result(HANG)
    assert read(unmounted, "e/f", 10) == b"newer"
    assert calls.getattr(node).mode & 0o777 == 0o600
    begun(calls.rename, ROOT, "e", ROOT, "g").result(HANG)
    assert bucket.keys() == ["g/f"]


def test_a_file_made_while_its_directory_is_renamed_gets_the_new_name(
    unmounted: Unmounted, proxy: Proxy, bucket: Bucket, hold: Hold
) -> None:
    """Whether it is in S3 by then, or still being written."""
    bucket.put("d/f", b"old")
    calls, directory = unmounted.calls, unmounted.node("d")
    proxy.inject(hold, on("DeleteObject", "d/f"))
    moving = begun(calls.rename, ROOT, "d", ROOT, "e")
    hold.wait_for(1)
    handles = {}
    for name in ("closed", "open"):
        handles[name] = calls.create(directory, name, 0o644, os.O_WRONLY, CALLER)[1].handle
        calls.write(handles[name], 0, name.encode())
    calls.flush(handles["closed"])
    calls.release(handles["closed"])
    hold.let_go()
    moving.result(HANG)
    calls.flush(handles["open"])
    calls.release(handles["open"])
    assert bucket.keys() == ["e/closed", "e/f", "e/open"]
    assert read(unmounted, "e/closed", 10) == b"closed"
    assert read(unmounted, "e/open", 10) == b"open"
    with pytest.raises(NotFound):
        unmounted.node("d")


def test_a_file_that_is_opened_while_its_directory_is_renamed_can_be_read(
    unmounted: Unmounted, proxy: Proxy, bucket: Bucket, hold: Hold
) -> None:
    """Its handle follows, although it was bound to the old key."""
    bucket.put("d/a", b"first")
    bucket.put("d/b", b"second")
    calls, node = unmounted.calls, unmounted.node("d/b")
    proxy.inject(hold, on("DeleteObject"), times=None)
    moving = begun(calls.rename, ROOT, "d", ROOT, "e")
    hold.wait_for(1)
    handle = calls.open(node, os.O_RDWR).handle
    hold.let_go()
    moving.result(HANG)
    view = bytearray(6)
    assert calls.read_into(handle, 0, memoryview(view)) == 6
    assert view == b"second"
    calls.write(handle, 0, b"changed")
    calls.flush(handle)
    assert bucket.get("e/b") == b"changed"


def test_a_rename_onto_an_open_file_takes_its_locks_in_order(
    unmounted: Unmounted, bucket: Bucket
) -> None:
    """Both files are open; either way round."""
    bucket.put("a", b"a")
    bucket.put("b", b"bb")
    calls = unmounted.calls
    for source, target, names in (("a", "b", "ab"), ("b", "a", "b")):
        handles = [calls.open(unmounted.node(name), os.O_RDONLY).handle for name in names]
        calls.rename(ROOT, source, ROOT, target)
        for handle in handles:
            calls.release(handle)
    assert bucket.get("a") == b"a"
    assert bucket.keys() == ["a"]
