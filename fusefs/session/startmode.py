"""How a mount starts: by itself, as one that another process may go on with, or as a successor."""

from enum import Enum, auto


class StartMode(Enum):
    """Of a RESUMED mount alone the kernel has nodes and handles."""

    SINGLE = auto()  # the mount ends with this process
    FIRST = auto()  # another process may go on
    RESUMED = auto()  # this process goes on with the mount of another
    RENEWED = auto()  # as FIRST, in place of another's that this kernel can't go on with
