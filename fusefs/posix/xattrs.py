"""Extended attributes of files and directories; POSIX ACLs are two of them.

They are stored with the other attributes, in s3fs's form: see `attributes`. Any thread.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

from fusefs.attributes import Posix
from fusefs.errors import AttributeTooBig, Exists, NoAttribute, Unsupported
from fusefs.names.lookup import Lookup
from fusefs.names.selfcopy import SelfCopies
from fusefs.names.tree import Node
from fusefs.posix import acl
from fusefs.resend import is_resent

CREATE, REPLACE = 1, 2  # flags of setxattr(2)
# Linux' limit for one value, XATTR_SIZE_MAX; S3's limit for all metadata (2 KiB) comes before it.
LARGEST = 64 << 10


class Xattrs:
    """The extended attributes of one mount's nodes."""

    def __init__(self, lookup: Lookup, copies: SelfCopies) -> None:
        self._lookup = lookup
        self._copies = copies

    def _have(self, node: Node) -> Mapping[str, bytes]:
        if not self._lookup.stored:
            raise Unsupported("extended attributes need stored attributes (--metadata posix)")
        if node.body is None:
            self._lookup.refresh(node)
        elif node.body.dirty or node.posix is None:
            return node.body.posix.xattrs
        return node.posix.xattrs if node.posix is not None else {}

    def set(self, node: Node, name: str, value: bytes, flags: int) -> None:
        """Set one; `flags` are those of setxattr(2)."""
        have = self._have(node)
        if len(value) > LARGEST:
            raise AttributeTooBig(f"{name}: {len(value)} bytes are more than {LARGEST}")
        if is_resent() and have.get(name) == value:
            return
        if flags & CREATE and name in have:
            raise Exists(f"{name} is set already")
        if flags & REPLACE and name not in have:
            raise NoAttribute(f"{name} is not set")
        if name == acl.DEFAULT:
            # Whoever sets one counts on it: rather no than one that nothing inherits from.
            raise Unsupported("default ACLs aren't inherited here, so they can't be set")
        if name == acl.ACCESS:
            acl.permissions(value)  # an error now, before anything is locked or asked
        self._copies.set_posix(node, lambda posix: _at_now(_with(posix, name, value)))

    def get(self, node: Node, name: str) -> bytes:
        """Return a value; raises NoAttribute."""
        value = self._have(node).get(name) if self._lookup.stored else None
        if value is None:
            raise NoAttribute(f"{name} is not set")
        return value

    def names(self, node: Node) -> list[str]:
        """Return all names."""
        return list(self._have(node)) if self._lookup.stored else []

    def remove(self, node: Node, name: str) -> None:
        """Remove one; raises NoAttribute."""
        have = self._have(node)
        if name not in have:
            if is_resent():
                return
            raise NoAttribute(f"{name} is not set")
        left = {key: value for key, value in have.items() if key != name}
        self._copies.set_posix(node, lambda posix: _at_now(replace(posix, xattrs=left)))


def _with(posix: Posix, name: str, value: bytes) -> Posix:
    if name != acl.ACCESS:
        return replace(posix, xattrs={**posix.xattrs, name: value})
    bits, minimal = acl.permissions(value)
    others = {key: kept for key, kept in posix.xattrs.items() if key != name}
    xattrs = others if minimal else {**others, name: value}
    return replace(posix, mode=posix.mode & ~0o777 | bits, xattrs=xattrs)


def _at_now(posix: Posix) -> Posix:
    return replace(posix, ctime_ns=time.time_ns())
