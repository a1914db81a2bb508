"""The CRC32 of pieces is that of the whole, however it is computed."""

import random
import zlib

import pytest

from fusefs.crc32 import PIECE, SMALL, crc32


@pytest.mark.parametrize(
    "size", [0, 1, PIECE, PIECE + 1, 16384, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL]
)
def test_it_is_that_of_zlib(size: int) -> None:
    """Of bytes and views, alone and continued."""
    data = random.Random(size).randbytes(size)
    assert crc32(data) == crc32(memoryview(bytearray(data))) == zlib.crc32(data)
    assert crc32(data, 0x1234) == zlib.crc32(data, 0x1234)
    middle = size // 3
    assert crc32(data[middle:], crc32(data[:middle])) == zlib.crc32(data)
