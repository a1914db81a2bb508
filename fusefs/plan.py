"""How a changed file becomes an object: which bytes are sent and which are copied server side.

Pure arithmetic over S3's limits (user guide, "Multipart upload limits"): at most 10 000 parts, each
of 5 MiB to 5 GiB but for the last, which may be smaller.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .errors import TooBig
from .ranges import RangeSet

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
class Piece:
    """One part: bytes `start` to `end` of the file, sent, or copied from the base object."""

    start: int
    end: int
    copied: bool


def part_size_for(size: int, wanted: int) -> int:
    """Return the part size that keeps an object of `size` bytes under the number of parts."""
    if size > MAX_OBJECT:
        raise TooBig(f"{size} bytes are more than the {MAX_OBJECT} an S3 object can have")
    # A tenth of the parts is left for the cuts that copied pieces make.
    needed = -(-size // (MAX_PARTS * 9 // 10))
    return max(wanted, min(-(-needed // MiB) * MiB, MAX_PART))


def pieces(size: int, base_size: int, dirty: RangeSet, settings: PlanSettings) -> list[Piece]:
    """Cut a file of `size` bytes, whose bytes outside `dirty` are those of the base object.

    Writes all over a large file would cut it into too many parts: then larger and larger clean
    spans are sent with what is around them, in the worst case all of the file.
    """
    part_size = part_size_for(size, settings.part_size)
    copy_size = max(settings.copy_size, part_size)
    worth = MIN_PART
    while True:
        out: list[Piece] = []
        for start, end, copied in _grown(_spans(size, base_size, dirty, worth)):
            out.extend(_split(start, end, copied, copy_size if copied else part_size))
        if len(out) <= MAX_PARTS:
            return out
        worth *= 2


def _spans(size: int, base_size: int, dirty: RangeSet, worth: int) -> list[list[int]]:
    """Return alternating `[start, end, copied]`; clean spans smaller than `worth` are sent."""
    spans: list[list[int]] = []
    kept = min(size, base_size)
    for start, end, written in dirty.pieces(0, size):
        for low, high, copied in _at(start, end, kept, written):
            keep = copied and high - low >= worth
            if spans and bool(spans[-1][2]) == keep:
                spans[-1][1] = high
            else:
                spans.append([low, high, keep])
    return spans


def _at(start: int, end: int, kept: int, written: bool) -> Iterator[tuple[int, int, bool]]:
    """Cut a clean span at the end of the base object: what lies beyond are zeros, to be sent."""
    if written or start >= kept:
        yield start, end, False
    elif end <= kept:
        yield start, end, True
    else:
        yield start, kept, True
        yield kept, end, False


def _grown(spans: list[list[int]]) -> Iterator[tuple[int, int, bool]]:
    """Let sent spans that are too small for a part, but for the last, take from their neighbours.

    A neighbour gives what is missing if it stays large enough itself, else all it has.
    """
    out: list[list[int]] = []
    at = 0
    while at < len(spans):
        start, end, copied = spans[at]
        at += 1
        if out and not copied and not out[-1][2]:
            out[-1][1] = end
            start = out.pop()[0]
        while not copied and end - start < MIN_PART and at < len(spans):
            low, high, _ = spans[at]
            missing = MIN_PART - (end - start)
            if high - low - missing >= MIN_PART or (at == len(spans) - 1 and high - low > missing):
                spans[at][0] = end = low + missing
            else:
                end = high
                at += 1
        out.append([start, end, copied])
    yield from ((start, end, bool(copied)) for start, end, copied in out)


def _split(start: int, end: int, copied: bool, most: int) -> Iterator[Piece]:
    # Equal pieces, a little over the wanted size where they would be too small for parts.
    length = end - start
    count = max(1, min(-(-length // most), length // MIN_PART))
    borders = [start + length * number // count for number in range(count + 1)]
    for low, high in pairwise(borders):
        yield Piece(low, high, copied)
