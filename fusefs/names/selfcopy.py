"""Giving objects other attributes or another identity without their bytes traveling.

`chmod`, `chown`, `utimens` and extended attributes of what isn't being written are one copy of the
object onto itself. Any thread; a node's `lock` is held over the copy (the handle's own).
"""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from fusefs.attributes import DIRECTORY_TYPE, Posix, write
from fusefs.cache.cache import Cache
from fusefs.errors import NotFound, Stale
from fusefs.names.lookup import Lookup
from fusefs.names.tree import Node, Tree
from fusefs.objects import Headers, ObjectInfo
from fusefs.s3.conditions import IF_ABSENT
from fusefs.session.sessionlog import LoggedVersion
from fusefs.write.filecontent import FileContent
from fusefs.write.unsent import held
from fusefs.write.uploader import Uploader

log = logging.getLogger(__name__)


class SelfCopies:
    """The self-copies of one mount."""

    def __init__(self, tree: Tree, lookup: Lookup, uploader: Uploader, cache: Cache) -> None:
        self.tree = tree
        self.lookup = lookup
        self._uploader = uploader
        self._store = uploader.store
        self._cache = cache

    def set_posix(self, node: Node, change: Callable[[Posix], Posix]) -> None:
        """Change attributes: of a dirty file with its commit, else by one copy onto itself."""
        with node.lock:
            body = node.body
            with held(body):
                if body is not None and (body.dirty or body.unlinked):
                    body.set_posix(change(body.posix))
                    node.posix = body.posix
                    return
                self._change_stored(node, change)

    def _change_stored(self, node: Node, change: Callable[[Posix], Posix]) -> None:
        key = self.tree.key(node)
        if not key or not self._uploader.stores_attributes:
            shown = node.posix or self.lookup.posix(node.info, node.directory)
            return self._keep_here(node, key, change(shown))
        if node.posix is not None and self.lookup.known(node):
            posix = change(node.posix)
            if _same(node.posix, posix):
                return self._keep_here(node, key, posix)
        info = node.info
        if info is not None and info.headers is not None:
            try:
                posix = change(node.posix or self.lookup.posix(info, node.directory))
                return self.store_posix(node, info, posix)
            except (Stale, NotFound):
                log.debug("replaced by others, looking again", extra={"key": info.key})
                node.posix = None
        info = self._stored(node, key)
        before = node.posix or self.lookup.posix(info, node.directory)
        posix = change(before)
        if _same(before, posix):
            return self._keep_here(node, key, posix)
        return self.store_posix(node, info, posix)

    def _keep_here(self, node: Node, key: str, posix: Posix) -> None:
        """Keep attributes that no object has to learn of: they are stored, or can't be."""
        if not key and self.lookup.root is not None:
            self.lookup.root.save(posix)
        if node.posix is not None and node.posix.mtime_ns != posix.mtime_ns:
            node.changed_ns = 0
        node.posix = posix
        if node.body is not None:
            node.body.posix = posix

    def _stored(self, node: Node, key: str) -> ObjectInfo:
        """Return the object that has a node's attributes; an implicit directory gets a marker."""
        try:
            return self._store.head(key)
        except NotFound:
            if not node.directory or not key:
                raise
        headers = Headers(system={"ContentType": DIRECTORY_TYPE})
        try:
            etag = self._store.put(key, b"", headers, IF_ABSENT)
        except Stale:  # made meanwhile, by others or by a try of ours whose answer was lost
            return self._store.head(key)
        return ObjectInfo(key, 0, etag, self._store.server_time(), headers)

    def store_posix(self, node: Node, info: ObjectInfo, posix: Posix) -> None:
        """Copy an object onto itself with other attributes."""
        assert info.headers is not None  # noqa: S101 - the caller asked S3 for them
        headers = write(posix, info.headers)
        with node.body.moving() if node.body is not None else nullcontext():
            etag, modified = self._uploader.copy(info, info.key, headers, None)
            after = replace(info, etag=etag, modified=modified, headers=headers)
            self.renamed(node, info, after)
        node.posix = posix
        node.changed_ns = 0
        node.checked = time.monotonic()
        if node.body is not None:
            node.body.posix = posix

    def renamed(self, node: Node, before: ObjectInfo, after: ObjectInfo) -> None:
        """Our own copy gave the same bytes another identity: nobody has to fetch them again."""
        self.lookup.remember(after)
        self._cache.rename(before.key, before.etag, after.key, after.etag)
        node.info = after
        if node.cached_etag == before.etag:
            node.cached_etag = after.etag
        if node.body is not None and node.body.etag == before.etag:
            node.body.moved(after)
            self.became(node, node.body, after)
        elif node.body is not None and not node.body.dirty:
            node.body.replaced = True
        self.tree.made(node)

    def became(self, node: Node, body: FileContent, info: ObjectInfo) -> None:
        """The session journal goes over to the version that our commit or copy made."""
        version = LoggedVersion(info.key, info.etag, info.size)
        self.tree.journal.became(node.id, body.logged_etag, version)
        body.logged_etag = info.etag


def _same(before: Posix, after: Posix) -> bool:
    """Say whether a change changes nothing but the time of the change."""
    return replace(before, ctime_ns=after.ctime_ns) == after
