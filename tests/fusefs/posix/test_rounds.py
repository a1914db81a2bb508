"""Files that come and go leave nothing in memory, whatever their names were."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fusefs import changes
from fusefs.errors import NotFound
from fusefs.interface import ROOT, Caller
from fusefs.mount.mount import open_mount
from fusefs.mount.settings import MountSettings
from fusefs.names import missing
from fusefs.s3.settings import StoreSettings
from tests.servers.s3 import REGION
from tests.stores.server import QuirkyStore

CALLER = Caller(1000, 1000)
WARM, ROUNDS = 20, 40
# Objects of Python's that a round may leave: dictionaries grow now and then. A node left behind is
# 20 more.
LEFT = 14


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Any]:
    """The calls of a mount over a store in this process, its tables of names full already."""
    with QuirkyStore() as store:
        (tmp_path / "keys").mkdir()
        for name, value in store.endpoint.credentials.environment().items():
            (tmp_path / "keys" / name).write_text(value)
        told = StoreSettings(
            store.name, store.endpoint.url, REGION, credentials_dir=tmp_path / "keys"
        )
        mounted = open_mount(
            MountSettings(told, tmp_path / "mountpoint", cache_dir=tmp_path / "cache")
        )
        for number in range(changes.KEPT):
            with mounted.store.changes.under_way(f"before-{number}"):
                pass
        for number in range(missing.MOST):
            for names in (mounted.filesystem.tree.missing, mounted.filesystem.lookups.just_missed):
                names.note(ROOT, f"before-{number}", number + 0.5)
        yield mounted.calls
        mounted.close()


def use_a_file(calls: Any, number: int) -> None:
    """Create, read, rename and unlink one, as a program does by its kernel."""
    old, new = f"old-{number}", f"new-{number}"
    made, opened = calls.create(ROOT, old, 0o644, os.O_RDWR | os.O_CREAT, CALLER)
    calls.write(opened.handle, 0, b"x" * 1000)
    calls.flush(opened.handle)
    calls.release(opened.handle)
    reading = calls.open(made.node, os.O_RDONLY).handle
    assert calls.read_into(reading, 0, memoryview(bytearray(2000))) == 1000
    calls.flush(reading)
    calls.release(reading)
    calls.rename(ROOT, old, ROOT, new, 0)
    assert calls.lookup(ROOT, new).node == made.node
    calls.unlink(ROOT, new)
    calls.forget(made.node, 2)


def blocks() -> int:
    """Return how many objects Python has in memory."""
    gc.collect()
    return sys.getallocatedblocks()


def test_files_that_come_and_go_leave_nothing_in_memory(calls: Any) -> None:
    """Each has a name of its own; the number of objects is that of before."""
    for number in range(WARM):
        use_a_file(calls, number)
    before = blocks()
    for number in range(WARM, WARM + ROUNDS):
        use_a_file(calls, number)
    assert (blocks() - before) / ROUNDS < LEFT


def ours(each: object) -> bool:
    """Say whether an object is of our code: of a class of ours, or a frame of a function."""
    if isinstance(each, FrameType):
        return f"{os.sep}fusefs{os.sep}" in each.f_code.co_filename
    return type(each).__module__.startswith("fusefs.")


@pytest.fixture
def cycles() -> Iterator[Callable[[], list[object]]]:
    """Collect no garbage but for the one asked for; return those of our objects in it."""

    def collected() -> list[object]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = [each for each in gc.garbage if ours(each)]
        gc.garbage.clear()
        return found

    gc.collect()
    gc.disable()
    yield collected
    gc.enable()


def test_no_object_waits_for_a_collection_of_garbage(
    calls: Any, cycles: Callable[[], list[object]]
) -> None:
    """Objects go when they aren't used any more: none is in a circle of references."""
    use_a_file(calls, 1)
    cycles()
    use_a_file(calls, 2)
    with pytest.raises(NotFound):
        calls.lookup(ROOT, "nothing")
    listing = calls.opendir(ROOT).handle
    assert len(calls.readdir(listing, 0, 10)) == 2  # . and ..
    calls.releasedir(listing)
    assert cycles() == []
