"""When a file's content was changed last, to know whether what was once compared still holds.

A version that is closed and opened again needn't be read to be trusted: whoever damages its file
meanwhile changes these, too. Pure functions.
"""

import os

# Inode, size and time of the last change in nanoseconds; None where it isn't known.
LastChange = tuple[int, int, int] | None


def last_change(descriptor: int) -> LastChange:
    """Look at an open file; -1 is none."""
    if descriptor < 0:
        return None
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns
