"""Many files are committed at once, each by itself, in bounded memory."""

from __future__ import annotations

import threading

import pytest

from fusefs.errors import FsError, Unavailable
from fusefs.write.flush import AT_ONCE, MEMORY, Flush
from fusefs.write.unsent import DirtySet, Unsent
from tests.fusefs.unsent import Pretended, fails

MIB = 1 << 20


def flushed(dirty: DirtySet) -> dict[str, Exception | None]:
    """Commit all that is dirty; return how each file ended."""
    ends: dict[str, Exception | None] = {}

    def told(file: Unsent, error: Exception | None) -> None:
        ends[file.key] = error

    flush = Flush()
    flush.each(dirty.all(), told)
    flush.close()
    return ends


def test_several_files_are_under_way_at_once() -> None:
    """A commit that waits for the store lets others begin: here each waits for all."""
    dirty, all_here = DirtySet(), threading.Barrier(AT_ONCE)
    for number in range(2 * AT_ONCE):
        Pretended(f"f{number}", dirty, lambda: all_here.wait(20))
    assert list(flushed(dirty).values()) == [None] * 2 * AT_ONCE


def test_what_fails_of_one_file_is_told_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Errors of the store and bugs alike; a bug is one error line that names the file."""
    dirty = DirtySet()
    Pretended("bug", dirty, fails(KeyError("no such thing")))
    Pretended("away", dirty, fails(Unavailable("the store is away")))
    Pretended("well", dirty)
    ends = flushed(dirty)
    assert isinstance(ends["bug"], KeyError)
    assert isinstance(ends["away"], FsError)
    assert ends["well"] is None
    [line] = caplog.records
    assert line.levelname == "ERROR" and vars(line)["key"] == "bug"


def test_files_in_memory_together_are_bounded() -> None:
    """Those that are sent whole; a larger one goes in parts and counts nothing here."""
    dirty, at_once = DirtySet(), MEMORY // (12 * MIB)
    both_here, places = threading.Barrier(at_once), threading.Semaphore(at_once)

    def act() -> None:
        assert places.acquire(blocking=False), "more than fit"
        both_here.wait(20)
        places.release()

    for number in range(10 * at_once):
        Pretended(f"f{number}", dirty, act, size=12 * MIB)
    assert list(flushed(dirty).values()) == [None] * 10 * at_once


def test_a_file_larger_than_the_budget_goes_alone() -> None:
    """It can't wait for room that never comes."""
    dirty = DirtySet()
    Pretended("huge", dirty, size=2 * MEMORY)
    flush = Flush(whole=4 * MEMORY)
    flush.each(dirty.all(), lambda *_: None)
    flush.close()
    assert dirty.all() == []


def test_stop_ends_a_round_early() -> None:
    """What is under way is left to itself, nothing more is begun."""
    dirty, stop, go_on = DirtySet(), threading.Event(), threading.Event()

    def act() -> None:
        stop.set()
        go_on.wait(20)

    files = [Pretended(f"f{number}", dirty, act) for number in range(3 * AT_ONCE)]
    flush = Flush()
    flush.each(dirty.all(), lambda *_: None, stop)
    go_on.set()
    flush.close()
    assert sum(file.tries for file in files) <= AT_ONCE
