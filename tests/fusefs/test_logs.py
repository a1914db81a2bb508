"""Log lines as a log collector takes them."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fusefs.logs import JsonLine, TextLine, form_of


def said(message: str, *arguments: object, failed: bool = False, **extra: object) -> dict[str, Any]:
    """Return the line that a logger of ours writes, parsed."""
    error = sys.exc_info() if failed else None
    where = ("fusefs.anything", logging.WARNING, "file.py", 1)
    record = logging.getLogger().makeRecord(*where, message, arguments, error, extra=extra)
    (line,) = JsonLine().format(record).splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_has_event_level_fields_and_time() -> None:
    """What is given as `extra` stands beside the event; the time is UTC and says so."""
    line = said("uploaded %d", 3, key="a/b", bytes=7)
    time = datetime.fromisoformat(line.pop("timestamp"))
    assert line == {"event": "uploaded 3", "level": "warning", "key": "a/b", "bytes": 7}
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)


def test_any_value_fits_on_one_line() -> None:
    """Newlines, bytes that aren't UTF-8, and objects."""
    line = said("new\nline \udcff", path=Path("/x"), raw=b"\xff")
    assert line["event"] == "new\nline \udcff"
    assert line["path"] == "PosixPath('/x')"
    assert line["raw"] == "b'\\xff'"


def test_a_traceback_is_a_field() -> None:
    """An exception's traceback stays on the line of its event."""
    try:
        int("wrong")
    except ValueError:
        line = said("failed", failed=True)
    assert line["exception"].startswith("Traceback")
    assert "ValueError: invalid literal" in line["exception"]


def test_a_person_reads_sentences() -> None:
    """On a terminal: time of day, level where it isn't the usual, event, and its fields."""
    where = ("fusefs.anything", logging.WARNING, "file.py", 1)
    record = logging.getLogger().makeRecord(*where, "kept %d", (3,), None, extra={"key": "a/b"})
    time, _, said = TextLine().format(record).partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
    assert said == "warning: kept 3 (key: a/b)"


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["mount", "b", "/mnt"], "auto"),
        (["mount", "--log-format", "text", "b", "/mnt"], "text"),
        (["mount", "b", "/mnt", "--log-format=json"], "json"),
    ],
)
def test_the_command_line_says_the_form(words: list[str], form: str) -> None:
    """It is known before the first line, whatever else is wrong with the command line."""
    assert form_of(words) == form
