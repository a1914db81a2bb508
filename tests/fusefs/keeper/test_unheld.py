"""How long a keeper goes on that nobody would start again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusefs.keeper.keptmount import ABANDONED_SECONDS
from fusefs.keeper.unheld import Need, Unheld


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file that stands for the keeper's socket."""
    path = tmp_path / "keeper.sock"
    path.touch()
    return path


def test_it_serves_its_workers_for_ever(path: Path) -> None:
    """And, when there is none, waits for the next as long as a kubelet may let it wait."""
    clock = Clock()
    unheld = Unheld(str(path), clock)
    for workers, moment, need in (
        (1, 0.0, Need.SERVE),
        (1, 10 * ABANDONED_SECONDS, Need.SERVE),
        (0, 10 * ABANDONED_SECONDS, Need.SERVE),
        (0, 11 * ABANDONED_SECONDS - 1, Need.SERVE),
        (1, 11 * ABANDONED_SECONDS, Need.SERVE),
        (0, 12 * ABANDONED_SECONDS, Need.SERVE),
        (0, 13 * ABANDONED_SECONDS, Need.END),
    ):
        clock.now = moment
        assert unheld.need(workers) is need


def test_without_a_socket_nobody_can_come(path: Path) -> None:
    """Whoever is connected is served still."""
    unheld = Unheld(str(path), Clock())
    path.unlink()
    assert unheld.need(1) is Need.SERVE
    assert unheld.need(0) is Need.END


def test_it_makes_way_for_another_keeper(path: Path) -> None:
    """Whose socket is at the same place, whether workers are connected or not."""
    unheld = Unheld(str(path), Clock())
    path.with_name("new").touch()
    path.with_name("new").rename(path)
    assert unheld.need(1) is unheld.need(0) is Need.LEAVE
