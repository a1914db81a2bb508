"""Files that wait for a person take space until they are removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusefs.disk.leftbehind import LeftBehind
from fusefs.disk.space import Space
from fusefs.errors import NoSpace

MIB = 1 << 20


def test_what_is_removed_by_hand_is_given_back_when_space_runs_short(tmp_path: Path) -> None:
    """Nobody has to tell the process; until then it is counted, and the refusal names it."""
    kept = tmp_path / "conflicts"
    kept.mkdir()
    (kept / "one.data").write_bytes(b"x" * 3 * MIB)
    space = Space(tmp_path, 4 * MIB, 0)
    LeftBehind(space, kept)
    assert space.used == 3 * MIB
    with pytest.raises(NoSpace, match=r"3145728 of them kept in .*conflicts until you remove"):
        space.take(2 * MIB)
    (kept / "one.data").unlink()
    space.take(2 * MIB)
    assert space.used == 2 * MIB


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    """It is made with the first file."""
    space = Space(tmp_path, MIB, 0)
    left = LeftBehind(space, tmp_path / "conflicts")
    (tmp_path / "conflicts").mkdir()
    assert left.recount() == space.used == 0
