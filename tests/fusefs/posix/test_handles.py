"""The table of open handles: what an open and a close touch of it."""

from __future__ import annotations

from typing import Any

from fusefs.names.tree import NO_CHILDREN, Node
from fusefs.posix.handles import Handle, HandleTable


def handle(node: Node, body: Any) -> Handle:
    return Handle(node, body, 0, writes=False)


def test_a_content_is_used_until_its_last_handle_is_gone() -> None:
    """Also where the node is open with another one."""
    table, node, first, second = HandleTable(), Node(2, None, "f", False, NO_CHILDREN), "1", "2"
    assert not table.add(1, handle(node, first))
    assert not table.add(2, handle(node, first))
    assert table.add(3, handle(node, second)), "with another content, too"
    table.remove(1)
    assert table.uses(node, first)  # type: ignore[arg-type]  # any object is a content here
    table.remove(2)
    assert not table.uses(node, first)  # type: ignore[arg-type]
    assert table.uses(node, second)  # type: ignore[arg-type]
    assert table.remove(3) is not None and table.remove(3) is None


class Content:
    """What a handle table knows of a content."""

    size = 10
    dirty = False


def test_a_content_is_written_or_read_by_the_kernel_never_both() -> None:
    """A reader gets the mark only where no handle writes and nothing is changed."""
    table, node = HandleTable(), Node(2, None, "f", False, NO_CHILDREN)
    content: Any = Content()
    table.add(1, handle(node, content))
    table.add(2, Handle(node, content, 2, writes=True))
    assert not table.begin_passthrough(1)
    table.remove(2)
    content.dirty = True
    assert not table.begin_passthrough(1)
    content.dirty = False
    assert table.begin_passthrough(1) and table.in_passthrough(content)
    assert table.contents() == {}, "what is read and written through us"


def test_the_bytes_that_the_kernel_reads_are_counted_once_for_a_content() -> None:
    """For what may be held of the cache; a handle that ends takes its mark along."""
    table, node = HandleTable(), Node(2, None, "f", False, NO_CHILDREN)
    content: Any = Content()
    for number in (1, 2):
        table.add(number, handle(node, content))
        assert table.begin_passthrough(number)
        assert table.passthrough_bytes == 10
    table.remove(1)
    assert table.passthrough_bytes == 10
    assert table.end_passthrough(2) is not None and table.end_passthrough(2) is None
    assert table.passthrough_bytes == 0 and not table.in_passthrough(content)


def test_an_open_and_a_close_look_at_no_other_handle() -> None:
    """With 2 000 handles they touch one: nothing is copied, nothing searched."""
    table = HandleTable()
    nodes = [Watched(number) for number in range(2000)]
    for number, node in enumerate(nodes):
        table.add(number, handle(node, f"{number}"))  # type: ignore[arg-type]
    Watched.compared = 0
    table.add(2000, handle(nodes[0], "other"))  # type: ignore[arg-type]
    table.uses(nodes[0], "other")  # type: ignore[arg-type]
    table.remove(2000)
    assert Watched.compared <= 4


class Watched:
    """A node that counts how often one of its kind is looked for."""

    compared = 0

    def __init__(self, number: int) -> None:
        self.id = number

    def __hash__(self) -> int:
        Watched.compared += 1
        return self.id

    def __eq__(self, other: object) -> bool:
        return self is other
