"""Nobody writes the log full."""

import json
import logging
from io import StringIO

from webhook.serve.log import forward_libraries, make_logger
from webhook.serve.loglimit import EVENTS, LIBRARIES, LineLimit


def test_the_first_line_after_a_gap_says_how_many_are_missing() -> None:
    """A burst is written, the rest is counted, and time makes room again."""
    now = 0.0
    limit = LineLimit(lambda: now)
    lines = [limit.admit({"event": "review", "level": "info"}) for _ in range(EVENTS.burst + 7)]
    assert sum(lines) == EVENTS.burst
    now = 1 / EVENTS.per_second
    fields = {"event": "review", "level": "info"}
    assert limit.admit(fields)
    assert fields["left_out"] == 7


def test_a_kind_of_line_costs_no_other_kind() -> None:
    """A flood of one event hides none of another, nor a library's warnings its errors."""
    limit = LineLimit(lambda: 0.0)
    for _ in range(EVENTS.burst + 1):
        limit.admit({"event": "review", "level": "info"})
        limit.admit({"event": "bad request", "level": "warning", "logger": "uvicorn.error"})
    assert limit.admit({"event": "policy reloaded", "level": "info"})
    assert limit.admit({"event": "failed", "level": "error", "logger": "uvicorn.error"})


def test_lines_of_libraries_are_few() -> None:
    """Ten thousand requests that are none leave a handful of lines."""
    out = StringIO()
    before = logging.root.handlers[:], logging.root.level
    try:
        forward_libraries(make_logger("INFO", out))
        for number in range(10_000):
            logging.getLogger("uvicorn.error").warning("Invalid request %d", number)
    finally:
        logging.root.handlers[:], level = before
        logging.root.setLevel(level)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert LIBRARIES.burst <= len(lines) <= LIBRARIES.burst + 2
