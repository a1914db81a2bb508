"""HEADs of a scan, sent ahead of it or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.names.headsahead import AHEAD_FIRST, HeadsAhead
from fusefs.names.listing import Listing
from fusefs.names.remembered import Remembered
from tests.fusefs.memorystore import MemoryMount

NAMES = [f"{number:02}" for number in range(20)]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MemoryMount]:
    """The names of a bucket in memory that has a directory `d`."""
    with MemoryMount(tmp_path) as opened:
        for name in NAMES:
            opened.store.others_put(f"d/{name}", b"")
        yield opened


def scan(mount: MemoryMount, names: list[str], *, enabled: bool = True) -> HeadsAhead:
    """Ask for these names of `d` one after another, as lookups in its listing do."""
    listing = Listing(mount.store, "d/")
    listing.load()
    known = Remembered(100, 1 << 20)
    walks = mount.lookup.walks
    heads = HeadsAhead(mount.tree, mount.store, mount.ahead, known, walks, enabled=enabled)
    for name in names:
        heads.ahead(listing, name)
        assert heads.head(f"d/{name}")[0].key == f"d/{name}"
    return heads


def sent_ahead(heads: HeadsAhead) -> list[str]:
    """Return the names whose HEADs nobody has asked for yet."""
    return [name for name in NAMES if heads.is_sent(f"d/{name}")]


def test_the_second_name_in_order_sends_the_next_ones_ahead(mount: MemoryMount) -> None:
    """As many as the first window has."""
    heads = scan(mount, NAMES[:2])
    assert sent_ahead(heads) == NAMES[2 : 2 + AHEAD_FIRST]


def test_a_scan_costs_one_head_a_name(mount: MemoryMount) -> None:
    """Those sent ahead are the ones that it would have sent."""
    assert sent_ahead(scan(mount, NAMES)) == []
    assert mount.store.asked["head"] == len(NAMES)


def test_where_it_is_switched_off_each_name_is_asked_for_by_itself(mount: MemoryMount) -> None:
    """`--without heads`: a scan of some names costs their HEADs and no other."""
    assert sent_ahead(scan(mount, NAMES[:6], enabled=False)) == []
    assert mount.store.asked["head"] == 6
