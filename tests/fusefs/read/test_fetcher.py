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


def test_the_next_job_runs_while_the_rest_of_the_last_one_is_done() -> None:
    """A disk that is slow to write doesn't keep a connection from its next request."""
    fetcher, gate, ran = Fetcher(1), threading.Event(), threading.Event()
    rest_done = threading.Event()

    def rest() -> None:
        gate.wait(10)
        rest_done.set()

    fetcher.submit(lambda: rest, urgent=True)
    fetcher.submit(ran.set, urgent=True)
    assert ran.wait(10)
    assert not rest_done.is_set()
    gate.set()
    assert rest_done.wait(10)
    assert fetcher.close(5)


def test_no_more_jobs_run_at_once_than_there_are_connections() -> None:
    """Threads that write to the disk are extra, requests are not."""
    fetcher, lock, gate = Fetcher(2), threading.Lock(), threading.Event()
    running, most, done = 0, 0, threading.Semaphore(0)

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(0.05)
        with lock:
            running -= 1
        done.release()

    for _ in range(8):
        fetcher.submit(job, urgent=True)
    for _ in range(8):
        assert done.acquire(timeout=10)
    assert most == 2
    assert fetcher.close(5)
