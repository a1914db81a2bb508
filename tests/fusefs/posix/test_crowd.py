"""Very many names in one directory: what they take of memory, and how a stream goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fusefs.interface import ROOT
from tests.fusefs.posix.crowd import ANSWER, Generated, Kernel, mounted

NAMES_MOST = 48  # MiB for names, of which a quarter are pages, a quarter attributes
SLACK = 32  # MiB for the answers, the gaps of the heap (up to 8 more on some), and 160 threads


def measured(*counts: int, root: Path, seconds: float = 110) -> dict[str, float]:
    """Run a crowd in a process of its own; return what it printed."""
    command = [sys.executable, "-m", "tests.fusefs.posix.crowd", *map(str, counts), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    assert done.stderr == ""
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def test_memory_is_bounded_at_200_000_names(tmp_path: Path) -> None:
    """However many are listed, looked at and removed: it stays within what names may take."""
    found = measured(200_000, 25_000, 2_000, root=tmp_path)
    assert found["listed"] - found["start"] < NAMES_MOST / 4 + SLACK
    assert found["looked at"] - found["start"] < NAMES_MOST + SLACK
    assert found["removed"] - found["start"] < NAMES_MOST + SLACK
    assert found["nodes"] < 22_000


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_memory_is_bounded_at_1_000_000_names(tmp_path: Path) -> None:
    """All of them listed and looked at, within 256 MiB of the process in all."""
    found = measured(1_000_000, 1_000_000, 100_000, root=tmp_path, seconds=1400)
    assert max(found["listed"], found["looked at"], found["removed"]) < 256
    assert found["nodes"] < 22_000


def test_a_resumed_stream_goes_on_behind_the_last_name(tmp_path: Path) -> None:
    """With one LIST from there, not with all that lies before; each name comes once."""
    store = Generated(5_000, size=10_000)
    first = mounted(store, Kernel(), tmp_path)
    calls = first.calls
    handle, offset, told = calls.opendir(ROOT).handle, 0, []
    while len(told) < 3_000:
        for entry in calls.readdir(handle, offset, ANSWER)[: ANSWER // 2]:
            told.append(entry.name)
            offset = entry.offset
    first.close()  # nothing is said of the stream
    store.lists.clear()
    second = mounted(store, Kernel(), tmp_path, resumed=True)
    calls = second.calls
    while entries := calls.readdir(handle, offset, ANSWER):
        told += [entry.name for entry in entries]
        offset = entries[-1].offset
    second.close()
    assert told == [".", "..", *(f"some-dataset-part-{at:08}" for at in range(5_000))]
    assert store.lists == [told[2_999], None, None]
