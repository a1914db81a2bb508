"""Whether the bytes of a staged file are known to be on the disk, and their checksums.

Written when a commit has failed and at the end of a process: then a file may stay for long, and
the machine may go down meanwhile. Plain state and one descriptor's reads; its owner locks.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from fusefs.crc32 import crc32
from fusefs.write.ranges import RangeSet

PIECE = 1 << 20  # bytes that have one checksum, at most
SEALING = (b"k", b"s", b"e")
# Steps that change no byte.
HARMLESS = (b"r", b"m", b"u", b"v", b"x", b"o")


@dataclass(slots=True)
class Seal:
    """`holds` says that `sums`, by start and end, are those of all stored bytes."""

    holds: bool = False
    sums: dict[tuple[int, int], int] = field(default_factory=dict)

    def replay(self, kind: bytes, rest: bytes) -> None:
        """Take over a line of the journal; the form is in `stagedjournal`."""
        if kind == b"k":
            start, end, crc = map(int, rest.split())
            self.sums[start, end] = crc
        elif kind == b"s":
            self.holds = True
        elif kind not in HARMLESS:
            self.holds = False
            self.sums.clear()

    def fits(self, data: int, stored: RangeSet) -> bool:
        """Say whether the bytes of the file `data` are those that were sealed."""
        return self.holds and self.sums == {(s, e): crc for s, e, crc in _sums(data, stored)}

    @staticmethod
    def lines(data: int, stored: RangeSet) -> bytes:
        """Return the journal's lines that seal a file."""
        sums = [f"k {start} {end} {crc}\n" for start, end, crc in _sums(data, stored)]
        return "".join([*sums, "s\n"]).encode()


def _sums(data: int, stored: RangeSet) -> Iterator[tuple[int, int, int]]:
    buffer = memoryview(bytearray(PIECE))
    for low, high in stored:
        for start in range(low, high, PIECE):
            end = min(start + PIECE, high)
            done = 0
            while done < end - start:
                got = os.preadv(data, [buffer[done : end - start]], start + done)
                if not got:
                    return  # shorter than it was: never the same sums
                done += got
            yield start, end, crc32(buffer[: end - start])
