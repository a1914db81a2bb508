"""How a changed file becomes an object: which bytes are sent and which are copied server side.

Pure arithmetic over S3's limits (user guide, "Multipart upload limits"): at most 10 000 parts, each
of 5 MiB to 5 GiB but for the last, which may be smaller.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import TooBig
from .ranges import RangeSet

MiB = 1 << 20
GiB = 1 << 30
MIN_PART = 5 * MiB
MAX_PART = 5 * GiB
MAX_PARTS = 10_000
# AWS raised the largest object from 5 TiB to 50 TiB in 2025; a store that allows less says so.
MAX_OBJECT = 50 << 40


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
    return max(wanted, -(-needed // MiB) * MiB)


def pieces(size: int, base_size: int, dirty: RangeSet, settings: PlanSettings) -> list[Piece]:
    """Cut a file of `size` bytes, whose bytes outside `dirty` are those of the base object."""
    part_size = part_size_for(size, settings.part_size)
    copy_size = max(settings.copy_size, part_size)
    out: list[Piece] = []
    for start, end, copied in _grown(_spans(size, base_size, dirty)):
        out.extend(_split(start, end, copied, copy_size if copied else part_size))
    return out


def _spans(size: int, base_size: int, dirty: RangeSet) -> list[list[int]]:
    """Return alternating `[start, end, copied]`; clean spans too small for a part are sent."""
    spans: list[list[int]] = []
    kept = min(size, base_size)
    for start, end, written in dirty.pieces(0, size):
        for low, high, copied in _at(start, end, kept, written):
            worth = copied and high - low >= MIN_PART
            if spans and bool(spans[-1][2]) == worth:
                spans[-1][1] = high
            else:
                spans.append([low, high, worth])
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
    count = max(1, min(-(-(end - start) // most), (end - start) // MIN_PART))
    step = -(-(end - start) // count)
    for low in range(start, end, step):
        yield Piece(low, min(end, low + step), copied)
