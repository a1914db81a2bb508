"""Calls that come at the same moment: what they share, and what they don't wait for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from fusefs.errors import NotFound
from fusefs.interface import ROOT
from tests.fusefs.unmounted import Unmounted, begun
from tests.proxy.exchange import on
from tests.proxy.faults import Hold
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

HANG = 20.0  # seconds after which a call that should not wait counts as waiting


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Requests that are held back until the test ends, or lets them go."""
    hold = Hold()
    yield hold
    hold.let_go()


def test_opens_that_wait_at_the_same_moment_share_one_check(
    unmounted: Unmounted, proxy: Proxy, bucket: Bucket, hold: Hold
) -> None:
    """The first asks; those that came while it did share the next answer, asked after they came."""
    bucket.put("f", b"content")
    node = unmounted.node("f")
    proxy.inject(hold, on("GetObject"))
    opens = [begun(unmounted.calls.open, node, os.O_RDONLY)]
    hold.wait_for(1)
    opens += [begun(unmounted.calls.open, node, os.O_RDONLY) for _ in range(31)]
    time.sleep(0.2)  # all of them wait by now; who doesn't asks for itself
    with proxy.counting() as seen:
        hold.let_go()
        handles = {each.result(HANG).handle for each in opens}
    assert len(handles) == 32
    assert len(seen) <= 2


def test_an_open_takes_no_answer_that_was_asked_for_before_it_came(
    unmounted: Unmounted, bucket: Bucket
) -> None:
    """Close-to-open: an open after another client's close sees what that one wrote."""
    bucket.put("f", b"old")
    node = unmounted.node("f")
    unmounted.calls.open(node, os.O_RDONLY)
    bucket.put("f", b"new")
    handle = unmounted.calls.open(node, os.O_RDONLY).handle
    view = bytearray(3)
    unmounted.calls.read_into(handle, 0, memoryview(view))
    assert view == b"new"


def test_a_lookup_does_not_wait_for_the_copies_of_a_rename(
    unmounted: Unmounted, proxy: Proxy, bucket: Bucket, hold: Hold
) -> None:
    """However many of them are under way."""
    for number in range(64):
        bucket.put(f"d/{number}", b"x")
    proxy.inject(hold, on("CopyObject"), times=None)
    moving = begun(unmounted.calls.rename, ROOT, "d", ROOT, "e")
    hold.wait_for(32)
    with pytest.raises(NotFound):
        begun(unmounted.calls.lookup, ROOT, "other").result(HANG)
    hold.let_go()
    moving.result(HANG)
    assert len(bucket.keys("e/")) == 64


def test_a_lookup_does_not_wait_for_what_a_scan_sends_ahead(
    unmounted: Unmounted, proxy: Proxy, bucket: Bucket, hold: Hold
) -> None:
    """Nor does a rename of a directory: each has threads of its own."""
    for number in range(100, 180):
        bucket.put(f"d/{number}", b"x")
    bucket.put("e/f", b"y")
    directory = unmounted.node("d")
    stream = unmounted.calls.opendir(directory).handle
    unmounted.calls.readdir(stream, 0, 1000)
    proxy.inject(hold, lambda seen: seen.key.startswith("d/1"), times=None)
    scan = []
    for number in range(100, 105):
        scan.append(begun(unmounted.calls.lookup, directory, str(number)))
        hold.wait_for(1)
    hold.wait_for(29)  # and two of the five ask for themselves: 32 were sent ahead
    with pytest.raises(NotFound):
        begun(unmounted.calls.lookup, ROOT, "other").result(HANG)
    begun(unmounted.calls.rename, ROOT, "e", ROOT, "g").result(HANG)
    hold.let_go()
    assert all(each.result(HANG) for each in scan)
