"""The heaps of the C library and of Python, set up for a process that serves strangers for long.

glibc raises its threshold for separate mappings with each large block that is freed, so after a few
large requests their like come from the heap, whose gaps it keeps. With a fixed threshold memory of
large bodies goes back to the system. Other C libraries haven't got the function. Python's modules
are taken out of collections of garbage. Each function is called once, before the first request.
"""

import contextlib
import ctypes
import gc

# mallopt(3), malloc.h: the parameters, and glibc's initial value of both.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BYTES = 128 * 2**10


def return_large_blocks() -> None:
    """Have blocks of 128 KiB and more mapped separately for the rest of the process's life."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(parameter, _BYTES)


def freeze() -> None:
    """Take all that exists now, mostly modules, out of the collections of garbage to come."""
    gc.collect()
    gc.freeze()
