"""Set-user-id and set-group-id bits end when another user changes a file's bytes.

With FUSE_HANDLE_KILLPRIV_V2 that is the server's work: the kernel marks the writes, truncations and
opens of callers who may not keep the bits, instead of asking for the mode and `security.capability`
before each write.

Threading: any thread; `_plain` remembers nodes that need no check, by atomic operations.
"""

from stat import S_ISDIR, S_ISGID, S_ISREG, S_ISUID, S_IXGRP

from fusefs.interface import Calls, Change

MAX_REMEMBERED = 65536


def without_privileges(mode: int) -> int:
    """Return the mode after a write: set-group-id stays where it marks mandatory locking."""
    mode &= ~S_ISUID
    return mode & ~S_ISGID if mode & S_IXGRP else mode


class Privileges:
    """Clears the bits before a change by a caller who may not keep them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._plain: set[int] = set()

    def drop(self, node: int) -> None:
        """Clear a file's bits; a node found without them isn't checked again."""
        if node in self._plain:
            return
        mode = self._calls.getattr(node).mode
        if S_ISREG(mode) and without_privileges(mode) != mode:
            self._calls.setattr(node, Change(mode=without_privileges(mode)))
        if len(self._plain) >= MAX_REMEMBERED:
            self._plain.clear()
        self._plain.add(node)

    def mode_without(self, node: int) -> int | None:
        """Return the mode to set with a new owner, None if no bit has to be cleared.

        Fifos, sockets and links lose the bits as files do; for directories they have another
        meaning.
        """
        mode = self._calls.getattr(node).mode
        if S_ISDIR(mode) or without_privileges(mode) == mode:
            return None
        return without_privileges(mode)

    def mode_changed(self, node: int) -> None:
        """Check the node again next time: its mode was set."""
        self._plain.discard(node)
