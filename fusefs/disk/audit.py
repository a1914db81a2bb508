"""Compare the space that is counted as used with the space that files take on the disk.

For tests: a difference is a leak of space, or a limit that doesn't hold. Valid only while nothing
is written and no unlinked file is open.

No state, any thread.
"""

from pathlib import Path

from fusefs.disk.space import Space

PAGE = 4096
COUNTED = ("blocks/content", "staged", "conflicts")


def miscounted(space: Space, root: Path) -> str:
    """Return how the count differs from the files below `root`, as a sentence; "" if it agrees.

    They may differ by a page of each file, and by what indexes of large objects take.
    """
    if not (root / "staged").is_dir():  # removed by another process: open files have no name
        return ""
    taken = borders = 0
    for directory in COUNTED:
        for path in (root / directory).glob("*"):
            if directory == "staged" and path.suffix != ".data":
                continue  # journals are not counted
            taken += 512 * path.stat().st_blocks
            borders += PAGE + path.stat().st_size // PAGE  # an index grows with its object
    if abs(space.used - taken) <= borders:
        return ""
    return f"{space.used} bytes are counted, the files take {taken}, within {borders}"
