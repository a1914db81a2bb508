"""What chmod, chown and utimens make of a file's attributes. A pure function but for the clock."""

import stat
import time

from fusefs.attributes import Posix
from fusefs.interface import Change
from fusefs.posix import acl


def changed(posix: Posix, change: Change) -> Posix:
    """Return attributes with a change made; an ACL follows the mode, ctime is now."""
    mode = posix.mode
    xattrs = posix.xattrs
    if change.mode is not None:
        mode = stat.S_IFMT(posix.mode) | stat.S_IMODE(change.mode)
        if acl.ACCESS in xattrs:
            xattrs = {**xattrs, acl.ACCESS: acl.with_permissions(xattrs[acl.ACCESS], mode)}
    return Posix(
        mode,
        posix.uid if change.uid is None else change.uid,
        posix.gid if change.gid is None else change.gid,
        posix.atime_ns if change.atime_ns is None else change.atime_ns,
        posix.mtime_ns if change.mtime_ns is None else change.mtime_ns,
        time.time_ns() if change.ctime_ns is None else change.ctime_ns,
        xattrs,
    )
