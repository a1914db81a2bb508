"""The identity of this boot of the machine: data of an earlier one may not have reached the disk.

Where the kernel has none (macOS), all boots count as one. It is read once. Any thread.
"""

import time
from functools import cache
from pathlib import Path

_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)


@cache
def boot_id() -> str:
    """Return the kernel's name for this boot; "" where it has none."""
    try:
        return _ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def booted_at() -> float:
    """Return the time of the boot, in seconds since 1970; 0 if the kernel doesn't have it."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() - time.clock_gettime(clock) if clock is not None else 0.0
