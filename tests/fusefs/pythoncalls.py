"""Which of Python's functions a piece of work calls, as `sys.setprofile` sees them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from fusefs import locks

WATCHING = {locks.__file__}  # in tests they look for locks taken against their order


def _file(frame: FrameType | None) -> str:
    return frame.f_code.co_filename if frame is not None else ""


def calls(work: Callable[..., object], *arguments: Any) -> list[str]:
    """Return the names of the functions that this thread calls below `work`, and its own."""
    found: list[str] = []

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and not WATCHING & {_file(frame), _file(frame.f_back)}:
            found.append(frame.f_code.co_qualname)

    sys.setprofile(called)
    try:
        work(*arguments)
    finally:
        sys.setprofile(None)
    return found
