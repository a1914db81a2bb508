"""Killed right after any of its traces on the disk or in the store, the next worker makes it good.

Not at random moments: at each that differs from the one before, one after the other.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fusefs.survival import stories
from tests.mounts.mount import REPOSITORY
from tests.servers.s3 import Bucket, Endpoint

FEW = 3
STEP = 4


class Players:
    """The server of `moments`, and where its stories take place."""

    def __init__(self, keys: Path) -> None:
        self._keys = keys
        self.said = keys / "said"
        with self.said.open("w") as said:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.fusefs.survival.moments"],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def play(self, story: str, bucket: Bucket, cache: Path, moment: int = 0) -> dict[str, Any]:
        """Have a story played, or the rest of it, up to a moment; return how it ended."""
        job = {
            "story": story,
            "bucket": bucket.name,
            "endpoint": bucket.endpoint.url,
            "cache": str(cache),
            "keys": str(self._keys),
            "moment": moment,
        }
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        assert "failed" not in answer, f"{answer['failed']}\n{self.said.read_text()[-1000:]}"
        return answer

    def end(self) -> None:
        """End the server."""
        self._server.communicate(timeout=10)


@pytest.fixture(scope="module")
def players(store: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    """One server for all tests: it has imported what takes long."""
    keys = tmp_path_factory.mktemp("keys")
    for name, value in store.credentials.environment().items():
        (keys / name).write_text(value)
    players = Players(keys)
    yield players
    players.end()


def content(bucket: Bucket) -> dict[str, bytes]:
    """Return all objects."""
    keys = bucket.keys()
    return {key: bucket.get(key) for key in keys}


def given(bucket: Bucket, story: stories.Story) -> None:
    """Make the bucket what it is before a story."""
    found = content(bucket)
    for key, value in found.items():
        if story.given.get(key) != value:
            bucket.delete(key)
    for key, value in sorted(story.given.items()):
        if found.get(key) != value:
            bucket.put(key, value)


def kill_once(players: Players, name: str, bucket: Bucket, cache: Path, moment: int) -> None:
    """Play a story with a kill at one moment; nothing is to be seen of that in the end."""
    given(bucket, stories.ALL[name])
    cache.mkdir()
    players.play(name, bucket, cache, moment)
    if moment:
        players.play(name, bucket, cache)
    assert content(bucket) == stories.ALL[name].left
    kinds = ("staged", "renames", "conflicts")
    assert [str(left) for kind in kinds for left in (cache / kind).glob("*")] == []


@pytest.mark.parametrize("name", stories.ALL)
def test_some_moments(players: Players, bucket: Bucket, tmp_path: Path, name: str) -> None:
    """A few of them at random, others in each run."""
    given(bucket, stories.ALL[name])
    (tmp_path / "whole").mkdir()
    most = players.play(name, bucket, tmp_path / "whole")["moments"]
    for moment in random.sample(range(1, most + 1), FEW):
        kill_once(players, name, bucket, tmp_path / f"{moment}", moment)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", stories.ALL)
def test_every_moment(players: Players, bucket: Bucket, tmp_path: Path, name: str) -> None:
    """Each fourth in one run, so that four runs have seen them all."""
    given(bucket, stories.ALL[name])
    (tmp_path / "whole").mkdir()
    most = players.play(name, bucket, tmp_path / "whole")["moments"]
    for moment in range(random.randrange(1, STEP + 1), most + 1, STEP):
        kill_once(players, name, bucket, tmp_path / f"{moment}", moment)
