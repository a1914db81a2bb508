"""Comparing the space that is counted as used with what files take on the disk.

For whoever tests: a difference is a leak of space, or a limit that isn't one. Only true while
nothing is written, and no file is open that has lost its name.

No state, any thread.
"""

import os
from pathlib import Path

from fusefs.disk.space import Space

PAGE = 4096
COUNTED = ("blocks/content", "staged", "conflicts")


def miscounted(space: Space, root: Path) -> str:
    """Return how far the count is from what lies below `root`; "" where it agrees.

    They differ by what fits into the pages at the borders of what was written.
    """
    if not (root / "staged").is_dir():  # removed by others: what is open has no name any more
        return ""
    taken = borders = 0
    for directory in COUNTED:
        for path in (root / directory).glob("*"):
            if directory == "staged" and path.suffix != ".data":
                continue  # journals are not counted
            taken += 512 * path.stat().st_blocks
            borders += 2 * PAGE * (1 + _extents(path))
    if abs(space.used - taken) <= borders:
        return ""
    return f"{space.used} bytes are counted, the files take {taken}, within {borders}"


def _extents(path: Path) -> int:
    """Count the stretches of data in a sparse file."""
    file, found, at = os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0, 0
    try:
        while True:
            at = os.lseek(file, os.lseek(file, at, os.SEEK_DATA), os.SEEK_HOLE)
            found += 1
    except OSError:  # ENXIO: no data behind it
        return found
    finally:
        os.close(file)
