"""Cache files that are registered with the kernel for passthrough, and what is done if it refuses.

Not here: which opens use a registration (`backing`). Threading: any thread; no lock.
"""

import errno
import logging
import os
from typing import Protocol

from fusefs.errors import FsError
from fusefs.interface import WORTHWHILE

log = logging.getLogger(__name__)

NONE = 0  # a backing id of the kernel is never 0
# Answers that stay the same for every file of a cache: no passthrough in this kernel, no
# CAP_SYS_ADMIN, a cache on a filesystem that is stacked on another one (overlayfs).
FINAL = frozenset(
    {errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ELOOP}
)


class BackingRegistry(Protocol):
    """Registers files with the kernel: this process if privileged, else the keeper."""

    def register(self, descriptor: int, tag: str) -> int:
        """Return the backing id; a successor gets `tag` back. OSError when refused."""

    def unregister(self, backing: int) -> None:
        """Release the id; open files are not affected."""


class Registrations:
    """The registry of one connection, without its errors: what is refused is read through us."""

    def __init__(self, registry: BackingRegistry | None) -> None:
        self._registry = registry
        self.possible = registry is not None  # until the kernel refuses it for good

    def worthwhile(self, descriptor: int) -> bool:
        """Return whether a cache file is large enough for a registration."""
        return self.possible and descriptor >= 0 and os.fstat(descriptor).st_size >= WORTHWHILE

    def register(self, descriptor: int, tag: str, *, asked: bool) -> int:
        """Return the backing id, NONE where that can't be; `asked`: an option asks for it."""
        if self._registry is None or not self.possible:
            return NONE
        try:
            return self._registry.register(descriptor, tag)
        except (OSError, FsError) as error:
            if isinstance(error, OSError) and error.errno in FINAL:
                self.possible = False
                log.log(
                    logging.WARNING if asked else logging.INFO,
                    "no passthrough: files are read through the worker; it needs Linux 6.9, "
                    "CAP_SYS_ADMIN and a cache that isn't on overlayfs",
                    extra={"error": str(error)},
                )
            return NONE

    def unregister(self, backing: int) -> None:
        """Release an id."""
        if self._registry is not None:
            try:
                self._registry.unregister(backing)
            except (OSError, FsError):
                return  # no keeper: the id lives as long as the mount


def identity_of(descriptor: int) -> str:
    """Return device and inode of a descriptor's file."""
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"
