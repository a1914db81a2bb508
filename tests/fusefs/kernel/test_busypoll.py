"""Whether a reader waits without sleeping: while requests follow each other closely."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from fusefs.kernel.busypoll import ROW, BusyPoll


@pytest.fixture
def device() -> Iterator[tuple[int, int]]:
    """Two ends of a pipe: requests come out of the first."""
    ends = os.pipe()
    yield ends
    for each in ends:
        os.close(each)


def answer_a_row(poll: BusyPoll) -> None:
    """Answer as many requests as make a row."""
    assert [poll.answered() for _ in range(ROW)] == [False] * (ROW - 1) + [True]


def test_it_begins_after_a_row_of_close_requests(device: tuple[int, int]) -> None:
    """And not before; any request of another kind ends it."""
    poll = BusyPoll(device[0], close=9.0)
    poll.start()
    for _ in range(ROW - 1):
        poll.answered()
        assert not poll.active
    assert poll.answered() and poll.active
    poll.start()
    assert not poll.active


def test_requests_that_come_slowly_are_slept_for(device: tuple[int, int]) -> None:
    """A row that took long is none of close requests."""
    poll = BusyPoll(device[0], close=0.0)
    poll.start()
    answer_a_row(poll)
    assert not poll.active


def test_a_wait_in_vain_is_the_last(device: tuple[int, int]) -> None:
    """It costs the time of one wait, and another row until the next."""
    poll = BusyPoll(device[0], close=9.0)
    poll.start()
    answer_a_row(poll)
    poll.wait()
    assert not poll.active
    answer_a_row(poll)
    assert poll.active


def test_a_request_ends_the_wait(device: tuple[int, int]) -> None:
    """As soon as it is there, and the next one is waited for, too."""
    poll = BusyPoll(device[0], close=9.0, patience=30.0)
    poll.start()
    answer_a_row(poll)
    sender = threading.Timer(0.05, os.write, (device[1], b"request"))
    began = time.monotonic()
    sender.start()
    poll.wait()
    assert time.monotonic() - began < 15 and poll.active
    sender.join()
