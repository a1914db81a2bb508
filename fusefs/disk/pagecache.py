"""Reads of what the kernel has in memory of a file: they never wait for the disk (RWF_NOWAIT).

See preadv2(2). Some file systems have no such reads; of those nothing counts as in memory. Any
thread.
"""

import os

from fusefs import waiting


def in_memory(descriptor: int, offset: int, view: memoryview) -> bool:
    """Fill all of `view` from `offset` of a file; False, with any bytes in it, if that may wait.

    An error of the disk is False, too: whoever reads again, and waits, gets it.
    """
    try:
        return os.preadv(descriptor, [view], offset, os.RWF_NOWAIT) == len(view)
    except OSError:
        return False


def read(descriptor: int, offset: int, view: memoryview) -> int:
    """Read some of `view` as preadv(2) does; says so before it waits for the disk (`waiting`)."""
    if waiting.matters() and in_memory(descriptor, offset, view):
        return len(view)
    waiting.waits()
    return os.preadv(descriptor, [view], offset)
