"""Handles and the contents they share, over a bucket in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import resend
from fusefs.errors import BadHandle, Exists
from fusefs.names.tree import Node
from tests.fusefs.memorystore import MemoryMount
from tests.fusefs.workbench import posix


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MemoryMount]:
    """Open files over a bucket in memory."""
    with MemoryMount(tmp_path) as opened:
        yield opened


def found(mount: MemoryMount, name: str) -> Node:
    """Look a name up."""
    return mount.lookup.find(mount.tree.root, name)


def read(mount: MemoryMount, handle: int) -> bytes:
    """Read all of a small file."""
    view = bytearray(100)
    return bytes(view[: mount.files.read_into(handle, 0, memoryview(view))])


def test_all_handles_of_a_file_see_one_content(mount: MemoryMount) -> None:
    """What one writes another reads, before anything is in the store."""
    mount.store.others_put("f", b"old")
    node = found(mount, "f")
    reader = mount.files.open(node, os.O_RDONLY).handle
    writer = mount.files.open(node, os.O_RDWR).handle
    mount.files.write(writer, 0, b"new")
    assert read(mount, reader) == b"new"
    assert mount.store.content("f") == b"old"


def test_an_open_sees_what_others_have_closed(mount: MemoryMount) -> None:
    """The new handle has the new version; the old one keeps its own, which is cached."""
    mount.store.others_put("f", b"old")
    node = found(mount, "f")
    before = mount.files.open(node, os.O_RDONLY).handle
    mount.store.others_put("f", b"newer")
    after = mount.files.open(node, os.O_RDONLY).handle
    assert read(mount, after) == b"newer" and read(mount, before) == b"old"


def test_an_exclusive_creation_is_in_the_store_at_once(mount: MemoryMount) -> None:
    """Of two mounts that create a name with O_EXCL one fails."""
    first = mount.tree.place(mount.tree.root, "f", directory=False)
    mount.files.create(first, os.O_RDWR | os.O_EXCL, posix(), exclusive=True)
    assert mount.store.content("f") == b""
    mount.store.others_put("g", b"")
    second = mount.tree.place(mount.tree.root, "g", directory=False)
    with pytest.raises(Exists):
        mount.files.create(second, os.O_RDWR | os.O_EXCL, posix(), exclusive=True)


def test_a_handle_for_reading_does_not_write(mount: MemoryMount) -> None:
    """Nor does a number that is no handle."""
    mount.store.others_put("f", b"old")
    handle = mount.files.open(found(mount, "f"), os.O_RDONLY).handle
    for wrong in (handle, 12345):
        with pytest.raises(BadHandle):
            mount.files.write(wrong, 0, b"x")


def test_a_commit_sends_what_was_written_once(mount: MemoryMount) -> None:
    """`close` sends what was written, and a second one has nothing to do."""
    node = mount.tree.place(mount.tree.root, "f", directory=False)
    handle = mount.files.create(node, os.O_WRONLY, posix(), exclusive=False).handle
    mount.files.write(handle, 0, b"data")
    mount.files.commit(handle)
    mount.files.commit(handle)
    assert mount.store.content("f") == b"data" and mount.store.asked["put"] == 1


def test_a_resent_open_is_answered_with_the_content_of_its_handle(mount: MemoryMount) -> None:
    """The driver compares it with that of attributes: a change by name would be ESTALE."""
    mount.store.others_put("f", b"old")
    opened = mount.files.open(found(mount, "f"), os.O_RDWR)
    mount.files.start_after(opened.handle, {5: opened.handle})
    resend.asked(5, again=True)
    try:
        again = mount.files.opened_before(mount.files.is_open)
    finally:
        resend.asked(0)
    assert again is not None and opened.content
    assert (again.handle, again.content) == (opened.handle, opened.content)
