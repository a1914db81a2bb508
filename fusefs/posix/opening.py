"""Which version of its object an open gets: the one S3 has now, or what this mount has of its own.

Not here: handles (`openfiles`). Any thread; the caller holds the node's `lock`, over the request.
"""

import os
import time
from collections.abc import Callable

from fusefs.cache.cache import Cache
from fusefs.changes import TRIES
from fusefs.errors import NotFound, Stale
from fusefs.names.firstbytes import Start
from fusefs.names.lookup import Lookup
from fusefs.names.tree import Node, Tree
from fusefs.objects import ObjectInfo
from fusefs.posix.sweeps import Sweeps
from fusefs.write.contents import FileContents
from fusefs.write.filecontent import FileContent

WRITING = os.O_WRONLY | os.O_RDWR


class Opening:
    """Finds bodies for new handles. `first` is how many bytes an open for reading brings along.

    `attach` makes a body the content of its node.
    """

    def __init__(
        self,
        tree: Tree,
        lookup: Lookup,
        contents: FileContents,
        cache: Cache,
        first: int,
        attach: Callable[[Node, FileContent], None],
        sweeps: Sweeps | None = None,
    ) -> None:
        self._tree = tree
        self._lookup = lookup
        self._contents = contents
        self._store = lookup.store
        self._cache = cache
        self._first = first
        self._attach = attach
        self._sweeps = sweeps

    def bind(self, node: Node, flags: int, began: float) -> FileContent:
        """Return the body for a new handle: the one in use if its version is still the current.

        What S3 was asked since this open `began` holds for it too: of many that wait for `lock`
        the first asks, for all. What a commit of ours has overtaken meanwhile is asked again.
        """
        for _ in range(TRIES):
            body = node.body
            if body is not None and self._in_front(node, body, began):
                return body
            asked = time.monotonic()
            try:
                info, head, asked = self._current(node, flags)
            except NotFound:
                if not self._overtook(node, asked):
                    raise
                continue
            if body is not None and _is_of(body, info):
                body.current_at = asked
                body.replaced = False
                return body
            if not self._overtook(node, asked):
                break
        else:
            if body is not None and body.failure is None:
                return body  # it changes all the time, by us: it has been current meanwhile
            info, head, asked = self._current(node, flags)
        return self._fresh(node, info, head, asked)

    def apart(self, node: Node, body: FileContent) -> FileContent:
        """Give a writer a content of its own, of the same version: readers keep theirs as it is."""
        info = body.info
        if info is None or node.gone:
            raise Stale(f"{body.key} was removed")
        return self._fresh(node, info, b"", body.current_at)

    def _in_front(self, node: Node, body: FileContent, began: float) -> bool:
        """Say whether a body needs no question: it is newer than what S3 has, or was asked for."""
        if body.dirty and body.failure is None:
            return True
        return node.gone or (body.current_at >= began and _is_of(body, node.info))

    def _overtook(self, node: Node, asked: float) -> bool:
        return self._store.changes.overtook(self._tree.key(node), asked)

    def _fresh(self, node: Node, info: ObjectInfo, head: bytes, asked: float) -> FileContent:
        posix = node.posix or self._lookup.posix(info, directory=False)
        fresh = self._contents.new(info.key, info, posix, node.id, head)
        fresh.current_at = asked
        self._attach(node, fresh)
        return fresh

    def _current(self, node: Node, flags: int) -> tuple[ObjectInfo, bytes, float]:
        """Return which version there is, its first bytes if they came along, and when S3 was asked.

        It was asked in the kernel's question before this OPEN, or it is by the GET that brings the
        first bytes, or by a HEAD.
        """
        key = self._tree.key(node)
        reads = not flags & WRITING
        start = self._lookup.first.take(key)
        if start is None and reads and self._sweeps is not None:
            start = self._sweeps.take(node, key)
        if start is None:
            start = self._asked(node, key, reads=reads)
        self._learned(node, start.info, start.asked)
        if reads and self._sweeps is not None:
            self._sweeps.opened(node, start.info)
        return start.info, start.head, start.asked

    def _asked(self, node: Node, key: str, *, reads: bool) -> Start:
        asked = time.monotonic()
        known = node.info
        head = b""
        info: ObjectInfo | None = None
        if reads and (known is None or known.size) and self._lookup.first.may_come(known):
            cached = known is not None and self._cache.peek(key, known.etag)
            whole = known is None or known.size <= self._first
            unless = known.etag if cached and known is not None else None
            answer = self._store.get_start(key, self._first, unless, whole=whole)
            if answer is None and known is not None:
                info = self._lookup.with_headers(known) or known
            elif answer is not None:
                info, head = answer
        if info is None:
            info = self._store.head(key)
        self._lookup.remember(info)
        return Start(info, head, asked)

    def _learned(self, node: Node, info: ObjectInfo, asked: float) -> None:
        with self._tree.lock:
            if self._overtook(node, asked):
                return
            node.info = info
            if info.headers is not None:
                node.posix = self._lookup.posix(info, directory=False)
            node.checked = asked


def _is_of(body: FileContent, info: ObjectInfo | None) -> bool:
    """Say whether a body is good for reading and writing this version."""
    return info is not None and body.etag == info.etag and body.failure is None
