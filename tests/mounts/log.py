"""What a daemon of ours says on stderr: one JSON object per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_HARMLESS = {"debug", "info", "notice"}


@dataclass(frozen=True)
class Line:
    """A line of the log; `level` is "unreadable" where the line isn't a JSON object."""

    text: str
    level: str
    fields: dict[str, Any]


def parse(text: str) -> list[Line]:
    """Return the lines of a log; a last line that is still being written is left out."""
    complete, _, _ = text.rpartition("\n")
    return [_line(line) for line in complete.splitlines() if line]


def _line(text: str) -> Line:
    try:
        fields = json.loads(text)
    except ValueError:
        return Line(text, "unreadable", {})
    if not isinstance(fields, dict):
        return Line(text, "unreadable", {})
    return Line(text, str(fields.get("level", "unreadable")), fields)


def complaints(lines: Iterable[Line], expected: Iterable[str] = ()) -> list[str]:
    """Return what is a warning or worse, or isn't JSON, and matches none of the expected."""
    known = [re.compile(pattern) for pattern in expected]
    return [
        line.text
        for line in lines
        if line.level not in _HARMLESS and not any(word.search(line.text) for word in known)
    ]
