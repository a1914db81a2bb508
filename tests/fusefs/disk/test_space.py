"""The disk budget."""

import os
import time
from pathlib import Path

import pytest

from fusefs.disk.space import PLENTY, Account, Space
from fusefs.errors import NoSpace


def test_takes_up_to_the_limit_and_no_byte_more(tmp_path: Path) -> None:
    """The limit itself fits, one byte more is NoSpace and isn't counted."""
    space = Space(tmp_path, 100, 0)
    space.take(100)
    with pytest.raises(NoSpace):
        space.take(1)
    assert space.used == 100
    assert space.free == 0


def test_given_bytes_can_be_taken_again(tmp_path: Path) -> None:
    """Giving makes room."""
    space = Space(tmp_path, 100, 0)
    space.take(100)
    space.give(40)
    space.take(40)
    assert space.used == 100


def test_asks_evictors_in_turn_for_what_is_short(tmp_path: Path) -> None:
    """The second evictor is asked only when the first has nothing left."""
    space = Space(tmp_path, 100, 0)
    asked: list[tuple[str, int]] = []
    space.evictor(lambda want: asked.append(("first", want)) or 0)
    space.evictor(lambda want: asked.append(("second", want)) or space.give(want) or want)
    space.take(90)
    space.take(30)
    assert asked == [("first", 20), ("second", 20)]
    assert space.used == 100


def test_leaves_the_floor_of_the_disk_free(tmp_path: Path) -> None:
    """A disk with 100 bytes free and a floor of 30 gives 70, whatever the limit says."""
    space = Space(tmp_path, 1000, 30, fake_free=100)
    space.take(70)
    with pytest.raises(NoSpace):
        space.take(1)


def test_what_was_on_the_disk_already_takes_no_free_space(tmp_path: Path) -> None:
    """Found bytes count for the limit, but not against what the disk had free at start."""
    space = Space(tmp_path, 1000, 0, fake_free=100)
    space.found(500)
    space.take(100)
    assert space.used == 600
    space.give(500)
    assert space.free == 500


def test_a_real_disk_limits_too(tmp_path: Path) -> None:
    """A limit larger than the disk doesn't make the disk larger."""
    space = Space(tmp_path, 1 << 60, 0)
    assert 0 < space.free < 1 << 60
    with pytest.raises(NoSpace):
        space.take(1 << 59)


def test_never_evicts_for_what_can_never_fit(tmp_path: Path) -> None:
    """A request over the whole limit leaves cached content alone."""
    space = Space(tmp_path, 100, 0)
    asked: list[int] = []
    space.evictor(lambda want: asked.append(want) or 0)
    with pytest.raises(NoSpace):
        space.take(101)
    assert asked == []


def test_an_account_counts_its_part(tmp_path: Path) -> None:
    """Writing through an account shows in both; received bytes show in the account only."""
    space = Space(tmp_path, 100, 0)
    account = Account(space)
    space.take(10)
    with account.writing(20):
        assert (account.held, space.used) == (20, 30)
    account.receive(10)
    assert (account.held, space.used) == (30, 30)
    account.give(30)
    assert (account.held, space.used) == (0, 0)


def test_a_failed_write_takes_nothing(tmp_path: Path) -> None:
    """Bytes that weren't written are given back."""
    account = Account(Space(tmp_path, 100, 0))
    with pytest.raises(OSError, match="disk"), account.writing(20):
        raise OSError("disk")
    assert (account.held, account.space.used) == (0, 0)


def test_bytes_on_their_way_count_against_the_disk(tmp_path: Path) -> None:
    """Two writers at once can't both have the last free bytes."""
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    space = Space(tmp_path, 1 << 60, 0)
    with Account(space).writing(free * 3 // 4), pytest.raises(NoSpace):
        space.take(free // 2)
    space.take(free // 2)


def test_a_disk_with_plenty_is_not_looked_at_for_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look for many small writes; near the floor each has its own."""
    looks: list[Path] = []
    real = os.statvfs(tmp_path)

    values = [*real[:4], 2 * PLENTY // real.f_frsize, *real[5:]]

    def look(path: Path) -> os.statvfs_result:
        looks.append(path)
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", look)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    space = Space(tmp_path, PLENTY * 4, 0)
    for _ in range(100):
        space.take(4096)
    assert len(looks) == 1
    space.take(PLENTY)
    space.take(4096)
    assert len(looks) == 2
