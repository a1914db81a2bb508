"""Which open files the kernel may read by itself (FUSE passthrough), where files can be written.

A reader that bypasses us sees nothing of what is written to its file, so its content must never
change: it is marked in the table of handles, and who opens the file for writing gets another
content (`openfiles`). The mark is taken and looked for under the node's `lock`.

Not here: what the kernel demands of such opens (`kernel.backing`). Any thread.
"""

from fusefs.errors import FsError
from fusefs.interface import WORTHWHILE
from fusefs.names.tree import Tree
from fusefs.objects import ObjectInfo
from fusefs.posix.handles import Handle, HandleTable
from fusefs.session.sessionlog import PASSTHROUGH, LoggedVersion
from fusefs.write.filecontent import FileContent


class Passthrough:
    """The readers in passthrough of one mount.

    `most`: bytes of files that may be read so, 0 for none; while one is, it can't be evicted.
    """

    def __init__(self, tree: Tree, handles: HandleTable, most: int) -> None:
        self._tree = tree
        self._handles = handles
        self._most = most

    def possible(self, body: FileContent) -> bool:
        """Say whether a reader of a content may ask for it."""
        if not self._most or body.dirty or body.size < WORTHWHILE:
            return False
        held = self._handles.passthrough_bytes
        return self._handles.in_passthrough(body) or held + body.size <= self._most

    def begin(self, number: int) -> int:
        """Mark a reader; return the descriptor for the kernel, which can't be evicted from then on.

        -1 where the file isn't cached as a whole, is being written, or is removed. A next process
        learns of it before the kernel does.
        """
        found = self._handles.get(number)
        if found is None:
            return -1
        with found.node.lock:
            if found.node.gone or not self._handles.begin_passthrough(number):
                return -1
        try:
            whole = found.body.whole_fd()
        except FsError:
            whole = -1
        if whole < 0:
            self._handles.end_passthrough(number)
        else:
            self._note(number, found, found.flags | PASSTHROUGH)
        return whole

    def end(self, number: int) -> None:
        """Take the mark away: the handle is read through us after all."""
        found = self._handles.end_passthrough(number)
        if found is not None:
            self._note(number, found, found.flags)

    def _note(self, number: int, handle: Handle, flags: int) -> None:
        version = logged(handle.body.info)
        self._tree.journal.opened(number, handle.node.id, flags, version)


def logged(info: ObjectInfo | None) -> LoggedVersion | None:
    """Return what the journal keeps of a version."""
    return LoggedVersion(info.key, info.etag, info.size) if info is not None else None
