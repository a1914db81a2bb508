"""What removing a small file costs below the driver: so many of Python's calls."""

from __future__ import annotations

import os

from fusefs.interface import ROOT
from tests.fusefs.pythoncalls import calls
from tests.fusefs.unmounted import CALLER, Unmounted

# Functions that unlink and forget call: 159 once, 117 later, of these 46 for the DELETE.
CALLS_MOST = 122


def make(unmounted: Unmounted, name: str) -> None:
    """Make a file of 1 KiB, which is forgotten then, and listed."""
    made, opened = unmounted.calls.create(ROOT, name, 0o100644, os.O_WRONLY, CALLER)
    unmounted.calls.write(opened.handle, 0, bytes(1024))
    unmounted.calls.flush(opened.handle)
    unmounted.calls.release(opened.handle)
    unmounted.calls.forget(made.node, 1)


def remove(unmounted: Unmounted, name: str) -> list[str]:
    """Look a file up, as the kernel does first; then return what it takes to remove it."""
    node = unmounted.calls.lookup(ROOT, name).node
    made = calls(unmounted.calls.unlink, ROOT, name)
    return made + calls(unmounted.calls.forget, node, 1)


def test_a_small_file_is_removed_with_few_calls(unmounted: Unmounted) -> None:
    """One DELETE; what was cached of it is dropped."""
    for name in ("before", "file"):
        make(unmounted, name)
    remove(unmounted, "before")  # a connection and credentials are there afterwards
    made = remove(unmounted, "file")
    assert len(made) <= CALLS_MOST, made
