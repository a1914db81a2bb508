"""How a mount starts: alone, as one that a later process can resume, or as the resuming process."""

from enum import Enum, auto


class StartMode(Enum):
    """Only in RESUMED does the kernel already hold nodes and handles."""

    SINGLE = auto()  # the mount ends with this process
    FIRST = auto()  # a later process can resume the mount
    RESUMED = auto()  # this process resumes the mount of another
    RENEWED = auto()  # as FIRST, replacing a mount that this kernel can't resume
