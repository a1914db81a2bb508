"""Removing names, over a bucket in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.errors import Unavailable
from fusefs.interface import Caller
from fusefs.names.namespace import Namespace
from tests.fusefs.memorystore import MemoryMount
from tests.fusefs.workbench import posix


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MemoryMount]:
    """Names over a bucket in memory."""
    with MemoryMount(tmp_path) as opened:
        yield opened


def namespace(mount: MemoryMount) -> Namespace:
    """Return the operations on names of a mount."""
    return Namespace(
        mount.tree, mount.lookup, mount.renames, mount.cache, mount.staging.dirty, read_only=False
    )


def created_unanswered(mount: MemoryMount) -> None:
    """Create a file whose commits have no answer, though the store carries them out."""

    def lost(_: str) -> None:
        raise Unavailable("no answer")

    node = mount.tree.place(mount.tree.root, "f", directory=False)
    handle = mount.files.create(node, os.O_WRONLY, posix(), exclusive=False).handle
    mount.files.write(handle, 0, b"data")
    mount.store.after = lost
    for step in (mount.files.commit, mount.files.release):
        mount.store.before = _no_head
        with pytest.raises(Unavailable):
            step(handle)
    mount.store.after = mount.store.before = lambda *_: None


def _no_head(name: str, _: str) -> None:
    if name == "head":
        raise Unavailable("no answer")


def test_what_a_commit_without_an_answer_made_goes_with_its_file(mount: MemoryMount) -> None:
    """Nobody knows whether it is there."""
    created_unanswered(mount)
    assert mount.store.keys() == ["f"]
    namespace(mount).unlink(mount.tree.root, "f")
    assert mount.store.keys() == []


def test_what_it_makes_later_goes_too(mount: MemoryMount) -> None:
    """The store may not have done it yet."""
    created_unanswered(mount)
    made = mount.store.head("f")
    namespace(mount).unlink(mount.tree.root, "f")
    assert mount.store.late.made(made)
    mount.store.late.close()


def test_the_next_file_of_the_name_stays(mount: MemoryMount) -> None:
    """It is no late request's, even if its own commit had no answer and was found to be there."""
    created_unanswered(mount)
    namespace(mount).unlink(mount.tree.root, "f")
    created_unanswered(mount)
    mount.staging.dirty.all()[0].commit()
    assert not mount.store.late.made(mount.store.head("f"))
    mount.store.late.settle(threading.Event())
    mount.store.late.close()
    assert mount.store.keys() == ["f"]


def test_a_file_that_was_never_sent_costs_no_request(mount: MemoryMount) -> None:
    """It is removed from the disk."""
    node = mount.tree.place(mount.tree.root, "f", directory=False)
    mount.files.create(node, os.O_WRONLY, posix(), exclusive=False)
    mount.store.asked.clear()
    namespace(mount).unlink(mount.tree.root, "f")
    assert not mount.store.asked


def test_a_directory_is_removed_with_its_marker(mount: MemoryMount) -> None:
    """One LIST, one DELETE."""
    names = namespace(mount)
    names.mkdir(mount.tree.root, "d", 0o755, Caller(0, 0))
    mount.store.asked.clear()
    names.rmdir(mount.tree.root, "d")
    assert mount.store.asked == {"list": 1, "delete": 1} and mount.store.keys() == []
