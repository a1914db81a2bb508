"""Which boot of the machine this is: what was written before it may not have reached the disk.

Where the kernel doesn't tell (macOS), all boots count as one. No state.
"""

import time
from pathlib import Path

_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)


def boot_id() -> str:
    """Return the kernel's name for this boot; "" where it has none."""
    try:
        return _ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def booted_at() -> float:
    """Return when the machine was started, in seconds since 1970; 0 where nobody knows."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() - time.clock_gettime(clock) if clock is not None else 0.0
