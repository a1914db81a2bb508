"""Nodes, their keys and their lifetime; no store is needed for these."""

from __future__ import annotations

import pytest

from fusefs.errors import Stale
from fusefs.names.tree import Tree


@pytest.fixture
def tree() -> Tree:
    """The tree of a mount of the prefix `p/`."""
    return Tree("p/", 60.0)


def test_keys_are_paths_below_the_prefix(tree: Tree) -> None:
    """A directory's key ends in a slash, a file's doesn't."""
    directory = tree.place(tree.root, "d", directory=True)
    file = tree.place(directory, "f", directory=False)
    assert (tree.key(tree.root), tree.key(directory), tree.key(file)) == ("p/", "p/d/", "p/d/f")
    assert tree.known("p/d/f") is file


def test_a_moved_directory_takes_its_files_along(tree: Tree) -> None:
    """Keys follow from places, so nothing below has to be touched; inode numbers stay."""
    directory = tree.place(tree.root, "d", directory=True)
    file = tree.place(directory, "f", directory=False)
    number = tree.inode(file)
    tree.move(directory, tree.root, "e")
    assert tree.key(file) == "p/e/f" and tree.inode(file) == number


def test_a_node_lives_as_long_as_the_kernel_knows_it(tree: Tree) -> None:
    """With the last lookup given back its number is unknown, and so is its parent's."""
    directory = tree.place(tree.root, "d", directory=True)
    file = tree.place(directory, "f", directory=False)
    file.lookups = 2
    tree.forget(file.id, 1)
    assert tree.get(file.id) is file
    tree.forget(file.id, 1)
    for gone in (file, directory):
        with pytest.raises(Stale):
            tree.get(gone.id)


def test_a_removed_file_lives_on_for_its_handles(tree: Tree) -> None:
    """It has no place any more; a new file of the name is another node."""
    file = tree.place(tree.root, "f", directory=False)
    file.handles = 1
    tree.detach(file)
    assert tree.get(file.id) is file and file.gone
    assert tree.place(tree.root, "f", directory=False) is not file
    tree.released(file)
    with pytest.raises(Stale):
        tree.get(file.id)


def test_a_name_of_another_kind_is_another_node(tree: Tree) -> None:
    """Others have replaced a file by a directory."""
    file = tree.place(tree.root, "x", directory=False)
    directory = tree.place(tree.root, "x", directory=True)
    assert directory is not file and tree.root.children["x"] is directory
