"""Finding names: what is asked of the store, and what is believed without asking."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fusefs.errors import NotFound
from fusefs.names.listing import Listing
from tests.fusefs.memorystore import MemoryMount


@pytest.fixture
def mount(tmp_path: Path) -> Any:
    """The names of a bucket in memory."""
    with MemoryMount(tmp_path) as opened:
        yield opened


def test_an_unlisted_name_costs_one_head_and_one_list(mount: MemoryMount) -> None:
    """Both at once, and nothing while the answer is trusted."""
    mount.store.others_put("f", b"abc")
    found = mount.lookup.find(mount.tree.root, "f")
    again = mount.lookup.find(mount.tree.root, "f")
    assert found is again and found.info is not None and found.info.size == 3
    assert mount.store.asked == {"head": 1, "list": 1}


def test_a_key_with_keys_below_it_is_a_directory(mount: MemoryMount) -> None:
    """Also where an object has the very name."""
    mount.store.others_put("d", b"object")
    mount.store.others_put("d/f", b"below")
    assert mount.lookup.find(mount.tree.root, "d").directory


def test_a_missing_name_is_not_asked_for_again_at_once(mount: MemoryMount) -> None:
    """That it isn't there is remembered for `negative_ttl`, and no longer."""
    mount.lookup.negative_ttl = 60.0
    for _ in range(3):
        with pytest.raises(NotFound):
            mount.lookup.find(mount.tree.root, "f")
    assert mount.store.asked["list"] <= 2
    mount.store.others_put("f", b"")
    mount.lookup.negative_ttl = 0.0
    assert mount.lookup.find(mount.tree.root, "f").name == "f"


def listed(mount: MemoryMount) -> Listing:
    """List the root as a program does."""
    mount.tree.root.listing = None
    made = mount.tree.relist(mount.tree.root, Listing(mount.store, "", mount.tree.pages))
    made.load()
    return made


def test_an_answer_that_a_scan_has_left_is_not_believed_against_a_newer_listing(
    mount: MemoryMount,
) -> None:
    """Else attributes would be trusted for twice their time."""
    for number in range(20):
        mount.store.others_put(f"f{number:02}", b"old", mode="33188")
    listed(mount)
    for number in range(4):
        mount.lookup.find(mount.tree.root, f"f{number:02}")
    deadline = time.monotonic() + 10
    while mount.store.asked["head"] < 6:  # sent ahead
        assert time.monotonic() < deadline
        time.sleep(0.01)
    mount.store.others_put("f05", b"newer", mode="33188")
    listed(mount)
    info = mount.lookup.find(mount.tree.root, "f05").info
    assert info is not None and info.size == 5


def test_a_new_version_tells_the_kernel(mount: MemoryMount) -> None:
    """The node stays; what the kernel has cached of it is said to be old."""
    changed: list[int] = []
    mount.lookup.invalidations = _Heard(changed)  # type: ignore[assignment]
    mount.store.others_put("f", b"old")
    node = mount.lookup.find(mount.tree.root, "f")
    mount.store.others_put("f", b"newer")
    node.checked = float("-inf")
    mount.lookup.refresh(node)
    assert changed == [node.id] and node.info is not None and node.info.size == 5


def test_an_answer_older_than_our_own_change_is_no_news(mount: MemoryMount) -> None:
    """A commit that ends while a HEAD is on its way counts, not that HEAD."""
    old = mount.store.others_put("f", b"old")
    node = mount.lookup.find(mount.tree.root, "f")
    new = mount.store.others_put("f", b"newer")
    node.info = new
    with mount.store.changes.under_way("f"):
        mount.lookup.learn(mount.tree.root, "f", old, 0.0)
    assert node.info == new


class _Heard:
    """Hears of changed nodes."""

    def __init__(self, changed: list[int]) -> None:
        self.node_changed = changed.append
