"""The objects of a directory rename as nodes know them: the old identity and the new one.

Not here: requests (`objectmoves`), journals (`renamejournal`). One rename uses it, under the lock
that lets one directory be renamed at a time.
"""

from collections.abc import Iterable
from dataclasses import replace

from fusefs.names.renamejournal import Copied
from fusefs.names.tree import Node
from fusefs.objects import ObjectInfo


class RenamedNodes:
    """The objects that nodes below a renamed directory know, and what each is now.

    `old` and `new` are the keys of the directory, with a slash at the end.
    """

    def __init__(self, old: str, new: str, nodes: Iterable[Node]) -> None:
        self.old = old
        self.new = new
        known = (object_of(node) for node in nodes)
        self._known = {info.key: info for info in known if info is not None}
        self._after: dict[str, tuple[str, ObjectInfo]] = {}

    def note(self, entry: Copied) -> None:
        """Note that one object was copied."""
        info = self._known.get(self.old + entry.suffix)
        if info is not None:
            after = replace(
                info, key=self.new + entry.suffix, etag=entry.new_etag, modified=entry.modified
            )
            self._after[info.key] = (entry.etag, after)

    def after(self, key: str, etag: str | None = None) -> ObjectInfo | None:
        """Return what an object is now, of one version or of any; None where it wasn't moved."""
        moved, info = self._after.get(key, (None, None))
        return info if etag in (None, moved) else None

    def key(self, old: str) -> str:
        """Return the new key for an old one."""
        return self.new + old[len(self.old) :]

    def left_behind(self, node: Node) -> bool:
        """Say whether a node may still have an old key: one made or opened meanwhile."""
        known = object_of(node)
        return known is None or known.key.startswith(self.old)


def object_of(node: Node) -> ObjectInfo | None:
    """Return the object of a node: of one from a journal, what its handles are bound to."""
    if node.info is None and node.body is not None:
        return node.body.info
    return node.info
