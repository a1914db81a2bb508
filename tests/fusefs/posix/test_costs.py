"""What a small new file costs below the driver: calls of Python's, and of the system's for data."""

from __future__ import annotations

import os
import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest

from fusefs import locks
from fusefs.errors import NotFound
from fusefs.interface import ROOT
from tests.fusefs.unmounted import CALLER, Unmounted

# Functions that create, write and close of a file of 16 KiB call: 650 once, 312 by now.
CALLS_MOST = 315
WATCHING = {locks.__file__}  # in tests they look for locks taken against their order


def file(frame: FrameType | None) -> str:
    """Return the file of a function."""
    return frame.f_code.co_filename if frame is not None else ""


WRITES = (os.write, os.pwrite, os.fsync, os.fdatasync)


def create(unmounted: Unmounted, name: str, counted: Counter[Any]) -> None:
    """Look a name up, as the kernel does first; then count what it takes to make the file."""
    calls = unmounted.calls
    with pytest.raises(NotFound):
        calls.lookup(ROOT, name)

    def count(frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call":
            counted[what] += 1
        elif event == "call" and not WATCHING & {file(frame), file(frame.f_back)}:
            counted["python"] += 1

    sys.setprofile(count)
    try:
        made, opened = calls.create(ROOT, name, 0o100644, os.O_WRONLY | os.O_CREAT, CALLER)
        calls.write(opened.handle, 0, b"x" * 16384)
        calls.flush(opened.handle)
        calls.release(opened.handle)
        calls.forget(made.node, 1)
    finally:
        sys.setprofile(None)


def test_a_small_file_is_made_with_few_calls(unmounted: Unmounted) -> None:
    """One write of its bytes, one of the journal for each request, none that waits for a disk."""
    for number in range(3):  # connections, credentials and conditions are there afterwards
        create(unmounted, f"before-{number}", Counter())
    counted: Counter[Any] = Counter()
    create(unmounted, "file", counted)
    assert counted["python"] <= CALLS_MOST
    # To the staged file; to the cache, from there, and their entry with the checksum.
    assert {each.__name__: counted[each] for each in WRITES if counted[each]} == {
        "write": 3,
        "pwrite": 3,
    }
