"""Reading a file that is changed here and there: staged bytes, copied ones, and the object's.

`local` is called under the lock that guards what is staged; `read_copied` makes requests, so under
none.
"""

from fusefs.read.reader import Reader
from fusefs.write.binding import Binding
from fusefs.write.serversidecopy import CopySource
from fusefs.write.staged import Staged

Elsewhere = list[tuple[int, int, CopySource | None]]


def local(staged: Staged, offset: int, view: memoryview) -> Elsewhere:
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


def read_copied(source: CopySource, reader: Reader, offset: int, view: memoryview) -> None:
    """Fill `view` with what a file has at `offset` of another object."""
    binding = Binding(reader, source.info, f"what was copied from {source.info.key}")
    with binding.content():
        binding.read(offset + source.shift, view)
    binding.close()
