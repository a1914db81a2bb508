"""Changes that change nothing: `chown -R` and `chmod -R` by an entry point that did it before."""

from __future__ import annotations

import pytest

from fusefs.interface import ROOT, Change
from tests.fusefs.unmounted import CALLER, Unmounted
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket


@pytest.fixture
def nodes(bucket: Bucket, unmounted: Unmounted) -> list[int]:
    """A file and a directory with attributes, and both without any; all looked at."""
    stored = {"mode": "33188", "uid": "0", "gid": "0", "mtime": "1234567890"}
    bucket.put("with", b"content", stored)
    bucket.put("without", b"content")
    bucket.put("implied/f", b"content")
    made = unmounted.calls.mkdir(ROOT, "made", 0o755, CALLER)
    unmounted.calls.setattr(made.node, Change(uid=0, gid=0))
    return [unmounted.node(name) for name in ("with", "without", "implied", "made")]


@pytest.mark.parametrize("change", ["owner", "mode", "both"])
def test_what_changes_nothing_sends_nothing(
    nodes: list[int], unmounted: Unmounted, proxy: Proxy, change: str
) -> None:
    """Neither a copy nor a marker, of files and directories with and without attributes."""
    with proxy.counting() as seen:
        for node in nodes:
            now = unmounted.calls.getattr(node)
            owner = {} if change == "mode" else {"uid": now.uid, "gid": now.gid}
            mode = {} if change == "owner" else {"mode": now.mode}
            after = unmounted.calls.setattr(node, Change(**owner, **mode))
            assert (after.mode, after.uid, after.gid) == (now.mode, now.uid, now.gid)
            assert after.ctime_ns > now.ctime_ns
    assert len(seen) == 0


def test_what_others_changed_meanwhile_is_changed_back(
    tmp_path_factory: pytest.TempPathFactory, bucket: Bucket, proxy: Proxy
) -> None:
    """Behind the TTL the store is asked: what is shown here may not be so any more."""
    bucket.put("f", b"content", {"mode": "33188", "uid": "7", "gid": "7"})
    root = tmp_path_factory.mktemp("unmounted")
    with Unmounted(bucket, root, proxy.endpoint, mount={"attr_ttl": 0.0}) as unmounted:
        node = unmounted.node("f")
        bucket.put("f", b"content", {"mode": "33188", "uid": "8", "gid": "8"})
        unmounted.calls.setattr(node, Change(uid=7, gid=7))
        assert bucket.metadata("f")["uid"] == "7"
