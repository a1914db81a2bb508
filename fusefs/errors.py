"""The exceptions of the filesystem, as one tree; each leaf has the errno that a program gets.

    FsError
    ├── NotFound          ENOENT      no such key, node or name
    ├── Exists            EEXIST
    ├── NotADirectory     ENOTDIR
    ├── IsADirectory      EISDIR
    ├── NotEmpty          ENOTEMPTY
    ├── NotPermitted      EPERM       not possible here: hard links, devices
    ├── AccessDenied      EACCES      the store refuses these credentials
    ├── ReadOnly          EROFS
    ├── NameTooLong       ENAMETOOLONG
    ├── BadName           EILSEQ      a name that can't be part of an S3 key
    ├── Invalid           EINVAL
    ├── NoSpace           ENOSPC      the cache disk is full
    ├── TooBig            EFBIG       larger than an S3 object can be
    ├── NoAttribute       ENODATA     no such extended attribute
    ├── AttributeTooBig   E2BIG       metadata larger than S3 stores
    ├── NoData            ENXIO       lseek past the end
    ├── BadHandle         EBADF
    ├── Unsupported       EOPNOTSUPP
    ├── Stale             ESTALE      replaced by another writer since it was opened or read
    │   └── Contended     ESTALE      another request on the same key was in flight: undecided
    ├── Unavailable       EIO         the store gives no answer, or a malformed one
    └── SetupError        -           the mount can't start; shown to a person, never to the kernel

Not here: the layout of an errno in a reply; that belongs to the adapters. They call `errno_of`,
the one place where any exception becomes a positive errno. No state, usable from any thread.
"""

import errno


class FsError(Exception):
    """An error with the errno for the application; `errno` is positive.

    `retried`: the store refused a retry whose first attempt got no answer. The first attempt may
    have succeeded. `refusal`: the store's reason, for the person who can change it.
    """

    errno: int = errno.EIO
    retried: bool = False
    refusal: str = ""


class NotFound(FsError):
    errno = errno.ENOENT


class Exists(FsError):
    errno = errno.EEXIST


class NotADirectory(FsError):
    errno = errno.ENOTDIR


class IsADirectory(FsError):
    errno = errno.EISDIR


class NotEmpty(FsError):
    errno = errno.ENOTEMPTY


class NotPermitted(FsError):
    errno = errno.EPERM


class AccessDenied(FsError):
    errno = errno.EACCES


class ReadOnly(FsError):
    errno = errno.EROFS


class NameTooLong(FsError):
    errno = errno.ENAMETOOLONG


class BadName(FsError):
    errno = errno.EILSEQ


class Invalid(FsError):
    errno = errno.EINVAL


class NoSpace(FsError):
    errno = errno.ENOSPC


class TooBig(FsError):
    errno = errno.EFBIG


class NoAttribute(FsError):
    errno = errno.ENODATA


class AttributeTooBig(FsError):
    errno = errno.E2BIG


class NoData(FsError):
    errno = errno.ENXIO


class BadHandle(FsError):
    errno = errno.EBADF


class Unsupported(FsError):
    errno = errno.EOPNOTSUPP


class Stale(FsError):
    errno = errno.ESTALE


class Contended(Stale):
    """A 409: the request has to be repeated; whether another one succeeded is unknown."""


class Unavailable(FsError):
    errno = errno.EIO


class SetupError(FsError):
    """The mount can't start; the message is one line for its user."""


def errno_of(error: BaseException) -> int:
    """Return the positive errno for any exception: ours, an OSError with or without errno, a bug.

    A bug is EIO, never EINVAL: applications take EINVAL for "not supported" and go on.
    """
    number = getattr(error, "errno", None)
    if isinstance(error, (FsError, OSError)) and isinstance(number, int) and number > 0:
        return number
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    return errno.EIO
