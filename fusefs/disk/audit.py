"""Comparing the space that is counted as used with what files take on the disk.

For whoever tests: a difference is a leak of space, or a limit that isn't one. Only true while
nothing is written, and no file is open that has lost its name.

No state, any thread.
"""

from pathlib import Path

from fusefs.disk.space import Space

PAGE = 4096
COUNTED = ("blocks/content", "staged", "conflicts")


def miscounted(space: Space, root: Path) -> str:
    """Return how far the count is from what lies below `root`; "" where it agrees.

    They may differ by a page of each file, and by what indexes of large objects take.
    """
    if not (root / "staged").is_dir():  # removed by others: what is open has no name any more
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
