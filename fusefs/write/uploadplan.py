"""How a changed file becomes an object: which bytes are sent and which are copied server side.

Pure arithmetic over S3's limits (user guide, "Multipart upload limits"): at most 10 000 parts, each
of 5 MiB to 5 GiB but for the last, which may be smaller.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from fusefs.errors import TooBig
from fusefs.objects import ObjectInfo
from fusefs.write.ranges import RangeSet
from fusefs.write.serversidecopy import Loans

MiB = 1 << 20
GiB = 1 << 30
MIN_PART = 5 * MiB
MAX_PART = 5 * GiB
MAX_PARTS = 10_000
# 48.8 TiB, which AWS rounds to 50 TB since 2025; a store that allows less says so itself.
MAX_OBJECT = MAX_PARTS * MAX_PART


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """Sizes in bytes: from `threshold` on uploads have parts, of `part_size` where it fits."""

    threshold: int = 16 * MiB
    part_size: int = 16 * MiB
    copy_size: int = 512 * MiB


@dataclass(frozen=True, slots=True)
class Origin:
    """Where bytes can be copied from: those at `start` are `source`'s at `start + shift`."""

    source: ObjectInfo
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """One part: bytes `start` to `end` of the file, copied from an origin, or sent."""

    start: int
    end: int
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A changed file: its size, the object below, what was changed of it, and what is lent."""

    size: int
    base: ObjectInfo | None
    dirty: RangeSet
    loans: Loans = field(default_factory=Loans)

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int, Origin | None]]:
        """Cut a range where its bytes come from elsewhere."""
        kept = min(self.size, self.base.size) if self.base is not None else 0
        for low, high, written in self.dirty.pieces(start, end):
            if written:
                for begin, stop, loan in self.loans.pieces(low, high):
                    yield begin, stop, Origin(loan.lender, loan.shift) if loan else None
            else:
                # What lies beyond the end of the base are zeros, to be sent.
                if self.base is not None and low < kept:
                    yield low, min(high, kept), Origin(self.base)
                if high > kept:
                    yield max(low, kept), high, None


def part_size_for(size: int, wanted: int) -> int:
    """Return the part size that keeps an object of `size` bytes under the number of parts."""
    if size > MAX_OBJECT:
        raise TooBig(f"{size} bytes are more than the {MAX_OBJECT} an S3 object can have")
    # A tenth of the parts is left for the cuts that copied pieces make.
    needed = -(-size // (MAX_PARTS * 9 // 10))
    return max(wanted, min(-(-needed // MiB) * MiB, MAX_PART))


def pieces(changed: Changed, settings: PlanSettings) -> list[Piece]:
    """Cut a file into parts: what can be copied, and what has to be sent.

    Writes all over a large file would cut it into too many parts: then larger and larger spans
    that could be copied are sent with what is around them, in the worst case all of the file.
    """
    part_size = part_size_for(changed.size, settings.part_size)
    copy_size = max(settings.copy_size, part_size)
    worth = MIN_PART
    while True:
        out: list[Piece] = []
        for start, end, origin in _grown(_spans(changed, worth)):
            out.extend(_split(start, end, origin, copy_size if origin else part_size))
        if len(out) <= MAX_PARTS:
            return out
        worth *= 2


@dataclass(slots=True)
class _Span:
    start: int
    end: int
    origin: Origin | None

    @property
    def size(self) -> int:
        return self.end - self.start


def _spans(changed: Changed, worth: int) -> list[_Span]:
    """Return spans of one origin each; what is smaller than `worth` is sent."""
    spans: list[_Span] = []
    for start, end, found in changed.spans(0, changed.size):
        origin = found if end - start >= worth else None
        if spans and spans[-1].origin == origin:
            spans[-1].end = end
        else:
            spans.append(_Span(start, end, origin))
    return spans


def _grown(spans: list[_Span]) -> Iterator[tuple[int, int, Origin | None]]:
    """Let sent spans that are too small for a part, but for the last, take from their neighbours.

    A neighbour gives what is missing if it stays large enough itself, else all it has.
    """
    out: list[_Span] = []
    at = 0
    while at < len(spans):
        span = spans[at]
        at += 1
        if out and span.origin is None and out[-1].origin is None:
            span.start = out.pop().start
        while span.origin is None and span.size < MIN_PART and at < len(spans):
            after = spans[at]
            missing = MIN_PART - span.size
            last = at == len(spans) - 1
            if after.size - missing >= MIN_PART or (last and after.size > missing):
                after.start = span.end = after.start + missing
            else:
                span.end = after.end
                at += 1
        out.append(span)
    yield from ((span.start, span.end, span.origin) for span in out)


def _split(start: int, end: int, origin: Origin | None, most: int) -> Iterator[Piece]:
    # Equal pieces, a little over the wanted size where they would be too small for parts.
    length = end - start
    count = max(1, min(-(-length // most), length // MIN_PART))
    borders = [start + length * number // count for number in range(count + 1)]
    for low, high in pairwise(borders):
        yield Piece(low, high, origin)
