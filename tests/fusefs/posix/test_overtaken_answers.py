"""What the filesystem makes of answers that a commit of its own has overtaken, without a kernel.

The kernel drops some of them by itself; the filesystem must not rely on it.
"""

from __future__ import annotations

import os

import pytest

from fusefs.interface import ROOT, Change
from tests.fusefs.unmounted import Unmounted, begun
from tests.proxy.exchange import on
from tests.proxy.faults import HeldAnswer
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket


@pytest.fixture
def mount(unmounted: Unmounted) -> Unmounted:
    """A filesystem that trusts nothing until `trust`."""
    unmounted.mounted.filesystem.tree.ttl = 0.0
    return unmounted


def trust(mount: Unmounted) -> None:
    """From now on what is known costs no request."""
    mount.mounted.filesystem.tree.ttl = 60.0


@pytest.mark.parametrize("operation", ["HeadObject", "ListObjectsV2"])
def test_a_name_looked_up_before_a_commit(
    mount: Unmounted, bucket: Bucket, proxy: Proxy, operation: str
) -> None:
    """The answer comes after the close: `stat` tells the size that was closed."""
    bucket.put("f", b"1234")
    node = mount.node("f")
    handle = mount.calls.open(node, os.O_WRONLY | os.O_APPEND).handle
    hold = HeldAnswer()
    proxy.inject(hold, on(operation))
    looked = begun(mount.calls.lookup, ROOT, "f")
    hold.wait_for(1)
    mount.calls.write(handle, 0, b"56")
    mount.calls.flush(handle)
    mount.calls.release(handle)
    trust(mount)
    hold.let_go()
    assert looked.result(20).size == 6
    assert mount.calls.getattr(node).size == 6


def test_attributes_asked_for_before_a_chmod(
    mount: Unmounted, bucket: Bucket, proxy: Proxy
) -> None:
    """The same of attributes: what our own copy stored stands."""
    bucket.put("f", b"1234")
    node = mount.node("f")
    hold = HeldAnswer()
    proxy.inject(hold, on("HeadObject"))
    looked = begun(mount.calls.lookup, ROOT, "f")
    hold.wait_for(1)
    mount.calls.setattr(node, Change(mode=0o600))
    trust(mount)
    hold.let_go()
    assert looked.result(20).mode & 0o777 == 0o600
    assert mount.calls.getattr(node).mode & 0o777 == 0o600


def test_a_head_sent_ahead_does_not_outlive_a_commit(
    mount: Unmounted, bucket: Bucket, proxy: Proxy
) -> None:
    """A scan asked for attributes ahead; the file was written before the scan came to it."""
    bucket.put_many([f"f{number}" for number in range(4)], b"1234")
    trust(mount)
    stream = mount.calls.opendir(ROOT).handle
    mount.calls.readdir(stream, 0, 100)
    hold = HeldAnswer()
    proxy.inject(hold, on("HeadObject", "f3"))
    for name in ("f0", "f1"):
        mount.calls.lookup(ROOT, name)
    hold.wait_for(1)
    bucket.put("f3", b"123456")  # as if by us, below
    with mount.mounted.store.changes.under_way("f3"):
        hold.let_go()
    assert mount.calls.getattr(mount.node("f3")).size == 6
