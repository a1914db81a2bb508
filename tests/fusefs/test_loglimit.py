"""No message fills the log, and what is left out is counted."""

import logging

from fusefs.loglimit import LogLimit


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def line(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("fusefs.x", level, __file__, 1, message, ("value",), None)


def test_a_burst_goes_through_then_one_in_a_while() -> None:
    """Of each message by itself; its arguments make no other message of it."""
    clock = Clock()
    limit = LogLimit(burst=3, seconds=5.0, clock=clock)
    assert [limit.filter(line("a %s")) for _ in range(5)] == [True, True, True, False, False]
    assert limit.filter(line("b %s"))
    clock.now = 5.0
    told = line("a %s")
    assert limit.filter(told)
    assert vars(told)["left_out"] == 2
    assert not limit.filter(line("a %s"))


def test_quiet_times_bring_the_burst_back() -> None:
    """And a line that nothing was left out before has no count."""
    clock = Clock()
    limit = LogLimit(burst=2, seconds=1.0, clock=clock)
    for _ in range(4):
        limit.filter(line("a"))
    clock.now = 100.0
    told = [line("a"), line("a")]
    assert [limit.filter(each) for each in told] == [True, True]
    assert "left_out" not in vars(told[1])


def test_the_reason_of_the_end_always_goes_through() -> None:
    """Critical lines."""
    limit = LogLimit(burst=1, clock=Clock())
    assert all(limit.filter(line("end", logging.CRITICAL)) for _ in range(3))
