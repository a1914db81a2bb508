"""CRC32 as in zlib and gzip (ISO 3309), of everything that is kept or sent.

From ISA-L, which folds with carry-less multiplication: 6 to 12 times as fast as Debian's zlib, and
every byte that is read or written passes here.

Any thread. ISA-L's binding gives the interpreter's lock up for more than 5 KiB: a microsecond of
work then waits for the lock as long as the other threads keep it. A small file goes in pieces.
"""

from isal.isal_zlib import crc32 as _crc32

Data = bytes | bytearray | memoryview

PIECE = 5 * 1024  # bytes up to which the lock is kept
SMALL = 64 * 1024  # bytes that take less long than giving the lock up and getting it back


def crc32(data: Data, checksum: int = 0) -> int:
    """Return the CRC32 of `data`, or of all from the bytes of `checksum` to the end of `data`."""
    size = len(data)
    if size <= PIECE or size > SMALL:
        return _crc32(data, checksum)
    view = memoryview(data)
    for at in range(0, size, PIECE):
        checksum = _crc32(view[at : at + PIECE], checksum)
    return checksum
