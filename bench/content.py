"""Bytes that can be made and compared faster than a mount reads them, each 1 MiB of them another.

A file is windows of one random buffer, each at an offset of its own, so a block in the wrong place
is seen, and a comparison is one memcmp.
"""

from __future__ import annotations

import random

MIB = 1 << 20
STRIDE = 4099  # bytes between the windows of two blocks; prime to MIB
_RANDOM = memoryview(random.Random(13).randbytes(2 * MIB))  # noqa: S311 - content, no secret


class WrongBytes(AssertionError):
    """A file system gave other bytes than were stored."""


def block(number: int) -> memoryview:
    """Return the content of a file from `number` MiB on, 1 MiB."""
    start = number * STRIDE % MIB
    return _RANDOM[start : start + MIB]


def whole(size: int) -> bytes:
    """Return the content of a file of `size` bytes."""
    return b"".join(block(number) for number in range(-(-size // MIB)))[:size]


def small(number: int, size: int) -> bytes:
    """Return the content of the small file `number`."""
    return bytes(block(number)[:size])


def check(found: bytearray, count: int, offset: int) -> None:
    """Compare `count` bytes that were read at `offset`, within one block, with what is there."""
    start = offset % MIB
    expected = block(offset // MIB)[start : start + count]
    if count != len(expected) or (found[:count] if count < len(found) else found) != expected:
        raise WrongBytes(f"wrong bytes at {offset}")
