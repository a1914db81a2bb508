"""Cached files that the kernel reads by itself, registered by a former process for passthrough.

Their readers' blocks must not be punched: the kernel would read zeros. Immutable.
"""

import os
from collections.abc import Collection


class KernelReads:
    """The files of some `inodes`, each as `device:inode`."""

    def __init__(self, inodes: Collection[str] = ()) -> None:
        self._inodes = frozenset(inodes)

    def has(self, descriptor: int) -> bool:
        """Say whether a descriptor's file is one; -1 is none."""
        if not self._inodes or descriptor < 0:
            return False
        status = os.fstat(descriptor)
        return f"{status.st_dev}:{status.st_ino}" in self._inodes
