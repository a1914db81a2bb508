"""Reading a file that is changed here and there: staged bytes, copied ranges, and the object's.

What is staged is read under `PendingChanges.state`; requests are made under no lock.
"""

from fusefs.read.readahead import ReadAhead
from fusefs.read.reader import Reader
from fusefs.write.binding import Binding
from fusefs.write.pending import PendingChanges
from fusefs.write.serversidecopy import CopySource
from fusefs.write.staged import Staged

# Bytes that are fetched in vain rather than with another request.
GAP = 256 << 10

Elsewhere = list[tuple[int, int, CopySource | None]]


class Overlay:
    """The bytes of one file: what is staged, over the object it is bound to."""

    def __init__(self, pending: PendingChanges, binding: Binding, reader: Reader) -> None:
        self._pending = pending
        self._binding = binding
        self._reader = reader

    @property
    def size(self) -> int:
        """Bytes of the file as this mount sees it."""
        staged, info = self._pending.staged, self._binding.info
        if staged is not None:
            return staged.record.size
        return info.size if info is not None else 0

    def read(self, offset: int, view: memoryview, stream: ReadAhead | None = None) -> int:
        """Fill `view` from `offset`; fewer bytes only at the end of the file.

        Raises Stale or NotFound where the object was replaced.
        """
        with self._pending.state:
            staged = self._pending.staged
            count = max(0, min(len(view), self.size - offset))
            if staged is not None:
                elsewhere = _local(staged, offset, view[:count])
            else:
                elsewhere = [(offset, offset + count, None)] if count else []
        for low, high, source in elsewhere:
            self._fetch(low, view[low - offset : high - offset], source, stream)
        return count

    def whole_fd(self) -> int:
        """Return a descriptor with exactly this content for passthrough, or -1."""
        info = self._binding.info
        if self._pending.staged is not None or info is None or not info.size:
            return -1
        with self._binding.content() as content:
            return content.whole_fd()

    def fill(self, offset: int, view: memoryview) -> None:
        """Read for an upload, with one request on both sides of a small change."""
        whole: Elsewhere = [(offset, offset + len(view), None)]
        with self._pending.state:
            staged = self._pending.staged
            elsewhere = whole if staged is None else _local(staged, offset, view)
        joined = _joined(elsewhere)
        for low, high, source in joined:
            self._fetch(low, view[low - offset : high - offset], source)
        if staged is not None and len(joined) < len(elsewhere):
            with self._pending.state:
                _local(staged, offset, view)  # over what was fetched with its neighbours

    def _fetch(
        self,
        offset: int,
        view: memoryview,
        source: CopySource | None,
        stream: ReadAhead | None = None,
    ) -> None:
        """Fill `view` with what isn't staged: the object's bytes, or another object's."""
        if source is None:
            self._binding.read(offset, view, stream)
        else:
            _read_copied(source, self._reader, offset, view)

    def file(self, start: int, end: int) -> int | None:
        """Return the descriptor of a file that has a range at its offsets, None for none."""
        with self._pending.state:
            staged = self._pending.staged
            return None if staged is None else staged.file(start, end)


def _local(staged: Staged, offset: int, view: memoryview) -> Elsewhere:
    """Fill in what is staged of `view`, at `offset`; return the ranges that are elsewhere.

    With None they are the object's, else another object's.
    """
    elsewhere: Elsewhere = []
    for low, high, written in staged.dirty.pieces(offset, offset + len(view)):
        for begin, stop, source in staged.copies.pieces(low, high):
            if source is not None or not written:
                elsewhere.append((begin, stop, source))
            else:
                staged.read(begin, view[begin - offset : stop - offset])
    return elsewhere


def _joined(elsewhere: Elsewhere) -> Elsewhere:
    """Put ranges of one source together where little of something else is between them."""
    joined: Elsewhere = []
    for low, high, source in elsewhere:
        if joined and joined[-1][2] == source and low - joined[-1][1] <= GAP:
            joined[-1] = (joined[-1][0], high, source)
        else:
            joined.append((low, high, source))
    return joined


def _read_copied(source: CopySource, reader: Reader, offset: int, view: memoryview) -> None:
    """Fill `view` with what a file has at `offset` of another object."""
    binding = Binding(reader, source.info, f"what was copied from {source.info.key}")
    with binding.content():
        binding.read(offset + source.shift, view)
    binding.close()
