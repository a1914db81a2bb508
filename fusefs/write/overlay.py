"""Reading a file that is changed here and there: staged bytes, borrowed ones, and the object's.

`local` is called under the lock that guards what is staged; `borrowed` makes requests, so under
none.
"""

from fusefs.read.reader import Reader
from fusefs.write.binding import Binding
from fusefs.write.serversidecopy import Loan
from fusefs.write.staged import Staged

Elsewhere = list[tuple[int, int, Loan | None]]


def local(staged: Staged, offset: int, view: memoryview) -> Elsewhere:
    """Fill in what is staged of `view`, at `offset`; return the ranges that are elsewhere.

    With None they are the object's, else another object's.
    """
    elsewhere: Elsewhere = []
    for low, high, written in staged.dirty.pieces(offset, offset + len(view)):
        for begin, stop, loan in staged.loans.pieces(low, high):
            if loan is not None or not written:
                elsewhere.append((begin, stop, loan))
            else:
                staged.read(begin, view[begin - offset : stop - offset])
    return elsewhere


def borrowed(loan: Loan, reader: Reader, offset: int, view: memoryview) -> None:
    """Fill `view` with what a file has at `offset` of another object."""
    lender = Binding(reader, loan.lender, f"what was copied from {loan.lender.key}")
    with lender.content():
        lender.read(offset + loan.shift, view)
    lender.close()
