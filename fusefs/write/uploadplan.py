"""How a changed file becomes an object: which bytes are sent and which are copied server side.

Pure arithmetic over S3's limits (user guide, "Multipart upload limits"): at most 10 000 parts, each
of 5 MiB to 5 GiB but for the last, which may be smaller. All others have one size, because some
stores want that (Cloudflare R2), and are numbered without gaps, because directory buckets do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fusefs.errors import TooBig
from fusefs.objects import ObjectInfo
from fusefs.write.ranges import RangeSet
from fusefs.write.serversidecopy import CopiedRanges, CopySource

MiB = 1 << 20
GiB = 1 << 30
MIN_PART = 5 * MiB
MAX_PART = 5 * GiB
MAX_PARTS = 10_000
# What copies cost, in bytes that one connection sends meanwhile. So many go side by side; a round
# takes a round trip or two, and as long as a store copies the largest: some four times as fast as
# it is sent. What is sent around a change is fetched first, and lines may be slow: it counts three
# times. So an edit of 1 GiB sends some 10 MiB, and an append to 256 MiB makes 32 copies at once.
AT_ONCE, ROUND, COPIED_FASTER, SENT_WEIGHT = 32, 4 * MiB, 4, 3
COPY_COST = 64 << 10  # of each, for a request costs money
# So many of the first borders between copied and changed bytes, and so many parts before them, are
# tried to fit: what is appended then needs no more of what is there than a byte for each part.
FITTED, FITTED_PARTS = 2, 32
# 48.8 TiB, which AWS rounds to 50 TB since 2025; a store that allows less says so itself.
MAX_OBJECT = MAX_PARTS * MAX_PART


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """Sizes in bytes: from `threshold` on uploads have parts, of `part_size` where it fits."""

    threshold: int = 16 * MiB
    part_size: int = 8 * MiB
    copy_size: int = 512 * MiB


@dataclass(frozen=True, slots=True)
class Piece:
    """One part: bytes `start` to `end` of the file, copied from a source, or sent."""

    start: int
    end: int
    source: CopySource | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A changed file: its size, the object below, what was changed, what is copied."""

    size: int
    base: ObjectInfo | None
    dirty: RangeSet
    copies: CopiedRanges = field(default_factory=CopiedRanges)

    def copied(self) -> bool:
        """Say whether any of its bytes can be copied server side."""
        return any(source is not None for _, _, source in self.spans(0, self.size))

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int, CopySource | None]]:
        """Cut a range where its bytes come from elsewhere."""
        kept = min(self.size, self.base.size) if self.base is not None else 0
        for low, high, written in self.dirty.pieces(start, end):
            if written:
                yield from self.copies.pieces(low, high)
            else:
                # What lies beyond the end of the base are zeros, to be sent.
                if self.base is not None and low < kept:
                    yield low, min(high, kept), CopySource(self.base)
                if high > kept:
                    yield max(low, kept), high, None


def part_size_for(size: int, wanted: int) -> int:
    """Return the part size that keeps an object of `size` bytes under the number of parts."""
    if size > MAX_OBJECT:
        raise TooBig(f"{size} bytes are more than the {MAX_OBJECT} an S3 object can have")
    needed = -(-size // MAX_PARTS)
    return max(wanted, min(-(-needed // MiB) * MiB, MAX_PART))


def pieces(changed: Changed, settings: PlanSettings) -> list[Piece]:
    """Cut a file into parts of one size: what can be copied, and what has to be sent."""
    spans = list(changed.spans(0, changed.size))
    size = best_size(changed.size, spans, settings)
    return list(laid(spans, size))


Span = tuple[int, int, CopySource | None]


def best_size(size: int, spans: list[Span], settings: PlanSettings) -> int:
    """Return the part size that costs least for a file of these spans."""
    usual = part_size_for(size, settings.part_size)
    sizes = [usual, *_doubled(usual, settings.copy_size), *_fitted(spans, settings.copy_size)]
    possible = [each for each in sizes if -(-size // each) <= MAX_PARTS]
    return min(possible, key=lambda each: _cost(spans, each, usual))


def _doubled(usual: int, most: int) -> Iterator[int]:
    """Yield sizes with less to send around a small change, and sizes with fewer copies."""
    part = MIN_PART
    while part < usual:
        yield part
        part *= 2
    part = 2 * usual
    while part <= most:
        yield part
        part *= 2


def _fitted(spans: list[Span], most: int) -> Iterator[int]:
    """Yield sizes whose parts end where the first spans do, or a few bytes before."""
    for _, border, _ in spans[:FITTED]:
        for count in range(-(-border // most), min(border // MIN_PART, FITTED_PARTS) + 1):
            yield border // count


def _cost(spans: list[Span], part: int, usual: int) -> int:
    """Return what the parts cost in bytes to send, and more for what doesn't go side by side."""
    sent = copies = largest_sent = largest_copy = 0
    for piece in laid(spans, part):
        size = piece.end - piece.start
        if piece.source is None:
            sent += size
            largest_sent = max(largest_sent, size)
        else:
            copies += 1
            largest_copy = max(largest_copy, size)
    rounds = -(-copies // AT_ONCE)
    copying = copies * COPY_COST + rounds * (ROUND + largest_copy // COPIED_FASTER)
    return SENT_WEIGHT * sent + copying + 4 * max(0, largest_sent - usual)


def laid(spans: Iterable[Span], part: int) -> Iterator[Piece]:
    """Lay spans over parts of one size: one whose bytes are all of one source is copied."""
    start, end, source, mixed = 0, 0, None, False
    for _, high, found in spans:
        if end > start and found != source:
            mixed = True
        elif end == start:
            source = found
        end = high
        while end - start >= part:
            yield _piece(start, start + part, None if mixed else source)
            start, source, mixed = start + part, found, False
    if end > start:
        yield _piece(start, end, None if mixed else source)


def _piece(start: int, end: int, source: CopySource | None) -> Piece:
    # A range of an object of up to 5 MiB can't be copied (API reference, UploadPartCopy).
    small = source is not None and source.info.size <= MIN_PART
    return Piece(start, end, None if small else source)
