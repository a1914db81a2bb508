"""Renames over a bucket in memory: keys, nodes and open files go together, or stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.errors import Exists, Invalid, NotEmpty, Unavailable
from fusefs.names.rename import NOREPLACE
from tests.fusefs.memorystore import MemoryMount


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MemoryMount]:
    """The names of a bucket in memory."""
    with MemoryMount(tmp_path) as opened:
        yield opened


def rename(mount: MemoryMount, old: str, new: str, flags: int = 0) -> None:
    """Rename in the root."""
    mount.renames.rename(mount.tree.root, old, mount.tree.root, new, flags)


def test_a_file_moves_by_one_copy_and_one_delete(mount: MemoryMount) -> None:
    """Its node has the new name, and no byte came through us."""
    mount.store.others_put("f", b"data", kept="yes")
    node = mount.lookup.find(mount.tree.root, "f")
    rename(mount, "f", "g")
    assert mount.store.keys() == ["g"] and mount.tree.key(node) == "g"
    assert mount.store.asked["copy"] == mount.store.asked["delete"] == 1
    assert mount.store.asked["get"] == 0
    assert mount.store.head("g").headers.metadata["kept"] == "yes"


def test_a_directory_moves_key_by_key(mount: MemoryMount) -> None:
    """All levels, and an open file below goes on under its new key."""
    for key in ("d/", "d/a", "d/sub/b"):
        mount.store.others_put(key, key.encode())
    directory = mount.lookup.find(mount.tree.root, "d")
    file = mount.lookup.find(directory, "a")
    handle = mount.files.open(file, os.O_RDONLY).handle
    rename(mount, "d", "e")
    assert mount.store.keys() == ["e/", "e/a", "e/sub/b"]
    view = bytearray(10)
    assert view[: mount.files.read_into(handle, 0, memoryview(view))] == b"d/a"


def test_a_directory_whose_copy_fails_stays_whole(mount: MemoryMount) -> None:
    """The copies made so far are taken back, and the tree shows the old name."""
    for key in ("d/a", "d/b", "d/c"):
        mount.store.others_put(key, b"data")
    directory = mount.lookup.find(mount.tree.root, "d")

    def fail(name: str, key: str) -> None:
        if (name, key) == ("copy", "d/c"):
            raise Unavailable("the store is away")

    mount.store.before = fail
    with pytest.raises(Unavailable):
        rename(mount, "d", "e")
    assert mount.store.keys() == ["d/a", "d/b", "d/c"] and mount.tree.key(directory) == "d/"


def test_noreplace_refuses_a_name_that_is_there(mount: MemoryMount) -> None:
    """RENAME_NOREPLACE is EEXIST, and both files are what they were."""
    mount.store.others_put("f", b"one")
    mount.store.others_put("g", b"two")
    with pytest.raises(Exists):
        rename(mount, "f", "g", NOREPLACE)
    assert (mount.store.content("f"), mount.store.content("g")) == (b"one", b"two")


@pytest.mark.parametrize(
    ("new", "flags", "error"), [("full", 0, NotEmpty), ("d/below", 0, Invalid), ("g", 2, Invalid)]
)
def test_a_directory_is_not_renamed_onto_what_it_cannot(
    mount: MemoryMount, new: str, flags: int, error: type[Exception]
) -> None:
    """Onto one with files, below itself, and not exchanged."""
    mount.store.others_put("d/a", b"")
    mount.store.others_put("full/a", b"")
    root = mount.tree.root
    parent = mount.lookup.find(root, "d") if "/" in new else root
    with pytest.raises(error):
        mount.renames.rename(root, "d", parent, new.rpartition("/")[2], flags)
    assert mount.store.keys() == ["d/a", "full/a"]
