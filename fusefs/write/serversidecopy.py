"""Ranges of a changed file whose bytes are still in another object, to be copied server side.

`copy_file_range` lends: nothing travels until the commit, which copies from the lender's version,
or until somebody writes over it. Plain state; its owner locks, and journals it (`staged`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fusefs.objects import ObjectInfo


@dataclass(frozen=True, slots=True)
class Loan:
    """Bytes `start` to `end` are those of `lender` from `start + shift` on."""

    start: int
    end: int
    lender: ObjectInfo
    shift: int

    def cut(self, start: int, end: int) -> "Loan":
        """Return the part of it within a range."""
        return Loan(max(start, self.start), min(end, self.end), self.lender, self.shift)


class Loans:
    """Loans in the order of their place, never overlapping."""

    def __init__(self) -> None:
        self._loans: list[Loan] = []

    def __iter__(self) -> Iterator[Loan]:
        return iter(self._loans)

    def __bool__(self) -> bool:
        return bool(self._loans)

    def add(self, loan: Loan) -> None:
        """Take a loan in place of what was there; neighbours of one lender become one."""
        self.remove(loan.start, loan.end)
        for other in list(self._loans):
            alike = (other.lender.key, other.lender.etag) == (loan.lender.key, loan.lender.etag)
            touching = other.end == loan.start or loan.end == other.start
            if alike and touching and other.shift == loan.shift:
                self._loans.remove(other)
                loan = Loan(
                    min(loan.start, other.start), max(loan.end, other.end), loan.lender, loan.shift
                )
        self._loans.append(loan)
        self._loans.sort(key=lambda each: each.start)

    def remove(self, start: int, end: int) -> None:
        """Bytes are the file's own from now on."""
        if start >= end or not self._loans:
            return
        kept = []
        for loan in self._loans:
            kept += [
                part
                for part in (loan.cut(0, start), loan.cut(end, loan.end))
                if part.start < part.end
            ]
        self._loans = kept

    def clear(self) -> None:
        """Nothing is lent any more."""
        self._loans.clear()

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, Loan | None]]:
        """Cut a range at the borders of loans."""
        for loan in self._loans:
            if loan.end <= start or loan.start >= end:
                continue
            if loan.start > start:
                yield start, loan.start, None
            low, start = max(start, loan.start), min(end, loan.end)
            yield low, start, loan
        if start < end:
            yield start, end, None

    def whole(self, size: int) -> ObjectInfo | None:
        """Return the lender where the file is just the same as it."""
        if len(self._loans) != 1:
            return None
        [loan] = self._loans
        same = loan.start == 0 == loan.shift and loan.end == size == loan.lender.size
        return loan.lender if same else None
