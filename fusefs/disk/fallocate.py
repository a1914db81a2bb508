"""Disk space of a file beyond its size: punching holes, and preallocation (`fallocate(2)`).

Python has no call for `fallocate(2)` with a mode, so this is the C library's. Where it doesn't
exist (macOS) or the filesystem can't do it, `OSError(EOPNOTSUPP)` says so.

Threading: no state; ctypes releases the GIL during the call.
"""

import ctypes
import errno
import os

KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE, linux/falloc.h
PUNCH_HOLE = 2  # FALLOC_FL_PUNCH_HOLE

_libc = ctypes.CDLL(None, use_errno=True)
# glibc on 32 bit has a 64-bit offset in fallocate64 only; musl has it in both.
_fallocate = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
if _fallocate is not None:
    _fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    _fallocate.restype = ctypes.c_int


def punch(fd: int, offset: int, length: int) -> None:
    """Free the disk space of a range; it reads as zeros then and the file keeps its size."""
    _allocate(fd, PUNCH_HOLE | KEEP_SIZE, offset, length)


def reserve(fd: int, offset: int, length: int) -> None:
    """Preallocate disk space for a range beyond the end; the file keeps its size."""
    _allocate(fd, KEEP_SIZE, offset, length)


def _allocate(fd: int, mode: int, offset: int, length: int) -> None:
    if _fallocate is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    while _fallocate(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
