"""The attributes that the kernel gets of a node: of its open content, else of its object.

Asks S3 for those of the root only. Any thread.
"""

import logging
import time

from fusefs.attributes import Posix, Shown
from fusefs.errors import FsError
from fusefs.interface import UNOPENED, Attributes
from fusefs.names.lookup import Lookup
from fusefs.names.tree import Node, Tree
from fusefs.write.filecontent import FileContent

log = logging.getLogger(__name__)


class NodeAttributes:
    """Of the nodes of one mount; `shown` overrides owner and mode."""

    def __init__(self, tree: Tree, lookup: Lookup, shown: Shown) -> None:
        self._tree = tree
        self._lookup = lookup
        self._shown = shown

    def learn_root(self, root: Node) -> None:
        """Give the root attributes; its own, where S3 answers."""
        # The kubelet asks for the root before anything else: it must answer even without S3.
        root.posix = self._lookup.posix(None, directory=True)
        root.checked = time.monotonic()
        try:
            self._lookup.load_marker(root)
        except FsError as error:
            log.warning("the root's attributes are unknown", extra={"error": str(error)})

    def of(self, node: Node) -> Attributes:
        """Return what an open of the node would find."""
        body = node.body
        dirty = body is not None and body.dirty
        if body is not None and (dirty or not body.replaced):
            posix = body.posix if dirty or node.posix is None else node.posix
            return self._of(node, posix, body.size, body)
        posix = node.posix or self._lookup.posix(node.info, node.directory)
        size = 0 if node.directory or node.info is None else node.info.size
        return self._of(node, posix, size, None)

    def of_content(self, node: Node, body: FileContent) -> Attributes:
        """Return what a handle sees whose content is no longer the node's."""
        return self._of(node, body.posix, body.size, body)

    def _of(self, node: Node, posix: Posix, size: int, body: FileContent | None) -> Attributes:
        age = time.monotonic() - node.checked
        mode, uid, gid = self._shown.of(posix, node is self._tree.root)
        return Attributes(
            node.id,
            mode,
            size,
            uid,
            gid,
            posix.atime_ns,
            posix.mtime_ns,
            posix.ctime_ns,
            nlink=0 if node.gone else 1,  # of a directory: its own are not counted
            ttl=max(0.0, self._tree.ttl - age),
            settled=body is not None or node.posix is not None,
            content=body.number if body is not None else UNOPENED,
            inode=self._tree.inode(node),
        )


def current(node: Node) -> FileContent | None:
    """Return the open content of a node where it is what an open would get."""
    body = node.body
    return body if body is not None and (body.dirty or not body.replaced) else None
