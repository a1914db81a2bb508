"""The certificate in a directory, on machines whose clock isn't the API server's."""

import os
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
import trustme

from tests.webhook.serve.test_server import issue
from webhook.serve.health import Health
from webhook.serve.log import make_logger
from webhook.serve.metrics import Metrics
from webhook.serve.tls import CONDITION, LiveCertificate


class Wall:
    """This machine's clock, as wrong as a test wants it."""

    def __init__(self) -> None:
        self.off = timedelta(0)

    def __call__(self) -> float:
        return (datetime.now(UTC) + self.off).timestamp()


class Watched:
    """A certificate directory and what the webhook makes of it."""

    def __init__(self, directory: Path, *, need_ready: bool) -> None:
        self.health, self.wall, self.directory = Health(), Wall(), directory
        self.ca = trustme.CA()
        log = make_logger("INFO", StringIO())
        metrics = Metrics()
        self.live = LiveCertificate(
            directory, self.health, metrics, log, need_ready=need_ready, clock=self.wall
        )

    def issue(self, begins: timedelta, ends: timedelta) -> None:
        now = datetime.now(UTC)
        issue(self.directory, self.ca, not_before=now + begins, not_after=now + ends)

    def ready(self) -> bool:
        self.live.refresh()
        return self.health.ready


WEEK = timedelta(days=7)


@pytest.fixture(params=[True, False], ids=["agent", "no agent"])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Watched:
    (tmp_path / "ready").touch()
    return Watched(tmp_path, need_ready=request.param)


def test_a_leaf_that_begins_in_the_future_is_used(watched: Watched) -> None:
    """The node's clock is behind: the API server, whose clock counts, accepts the leaf."""
    watched.issue(timedelta(minutes=3), WEEK)
    assert watched.ready()


def test_a_leaf_that_is_over_by_our_clock_is_loaded(watched: Watched) -> None:
    """The node's clock is ahead: the server starts with it all the same."""
    watched.issue(-WEEK, -timedelta(hours=1))
    watched.live.refresh()
    assert watched.live.loaded


def test_the_agent_says_whether_the_leaf_is_over(tmp_path: Path) -> None:
    """It goes by the API server's clock; ours being ahead keeps no replica out."""
    watched = Watched(tmp_path, need_ready=True)
    watched.issue(-WEEK, -timedelta(hours=1))
    assert not watched.ready()
    (tmp_path / "ready").touch()
    (tmp_path / "heartbeat").touch()
    assert watched.ready()


def test_a_leaf_that_a_dead_agent_left_is_not_shown_for_ever(tmp_path: Path) -> None:
    """Nobody takes `ready` away any more, so our clock decides."""
    watched = Watched(tmp_path, need_ready=True)
    watched.issue(-WEEK, -timedelta(hours=1))
    (tmp_path / "ready").touch()
    (tmp_path / "heartbeat").touch()
    hour_ago = watched.wall() - 3600
    os.utime(tmp_path / "heartbeat", (hour_ago, hour_ago))
    assert not watched.ready()


def test_a_clock_that_jumps_for_a_moment_costs_a_moment(tmp_path: Path) -> None:
    """Without an agent our clock decides, now and not by what it once said."""
    watched = Watched(tmp_path, need_ready=False)
    watched.issue(-WEEK, WEEK)
    assert watched.ready()
    watched.wall.off = 2 * WEEK
    assert not watched.ready()
    watched.wall.off = timedelta(0)
    assert watched.ready()
    assert CONDITION not in watched.health.reasons()
