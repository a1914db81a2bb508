"""What a person is told of a file that a command can't use: what, where, what to do.

For files that are named on the command line, and those of a cache directory; errors of the store
are `errors`'. Main thread only.
"""

import errno

from fusefs.errors import SetupError

_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.ENAMETOOLONG: "check the path",
    errno.EISDIR: "name a file",
    errno.EACCES: "run this as a user who may use it",
    errno.EPERM: "run this as a user who may use it",
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room there, or name another place",
    errno.EFBIG: "make room there, or name another place",
    errno.EROFS: "name another place",
    errno.EIO: "look at the disk, or at the log of the mount",
    errno.ENOTCONN: "its mount has ended: start that again, or unmount it",
}
_OTHERS = "look at that file and its disk"


def unusable(command: str, error: OSError) -> SetupError:
    """Return the error of a command that can't use a file; of a copy it is the target's."""
    where = error.filename2 or error.filename
    what = error.strerror or str(error)
    told = f"{where}: {what}" if where else what
    return SetupError(f"{command}: {told}; {_REMEDIES.get(error.errno or 0, _OTHERS)}")
