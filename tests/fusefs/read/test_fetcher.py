"""Threads for GETs."""

import logging
import threading

import pytest

from fusefs.read.fetcher import Fetcher


def test_urgent_jobs_go_first_and_read_ahead_leaves_a_thread() -> None:
    """With all of read-ahead blocked an urgent job still runs."""
    fetcher, gate, ran = Fetcher(3), threading.Event(), threading.Event()
    for _ in range(10):
        fetcher.submit(lambda: gate.wait(10) and None, urgent=False)
    fetcher.submit(ran.set, urgent=True)
    assert ran.wait(5)
    gate.set()
    assert fetcher.close(5)


def test_a_queued_job_can_be_cancelled_or_hurried() -> None:
    """What runs can't be cancelled any more."""
    fetcher, gate = Fetcher(1), threading.Event()
    order: list[str] = []
    started = threading.Event()

    def block() -> None:
        started.set()
        gate.wait(10)

    jobs = {name: lambda name=name: order.append(name) for name in "abc"}
    fetcher.submit(block, urgent=True)
    assert started.wait(5)
    for job in jobs.values():
        fetcher.submit(job, urgent=False)
    assert not fetcher.cancel(block)
    assert fetcher.cancel(jobs["b"])
    done = threading.Event()
    fetcher.hurry(jobs["c"])
    fetcher.submit(done.set, urgent=False)
    gate.set()
    assert done.wait(5)
    assert order == ["c", "a"]
    assert fetcher.close(5)


def test_a_job_with_a_bug_does_not_end_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and the next job runs."""
    fetcher, ran = Fetcher(1), threading.Event()
    fetcher.submit(lambda: [][0], urgent=True)
    fetcher.submit(ran.set, urgent=True)
    assert ran.wait(5)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert fetcher.close(5)


def test_closing_does_not_wait_for_ever() -> None:
    """A job that hangs is told about, and left to die with the process."""
    fetcher, gate, started = Fetcher(1), threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        gate.wait(10)

    fetcher.submit(hang, urgent=True)
    assert started.wait(5)
    assert not fetcher.close(0.05)
    gate.set()
    assert fetcher.close(5)
