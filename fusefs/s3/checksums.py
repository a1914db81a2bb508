"""Checksums as S3 writes them: base64 of the big-endian digest.

Algorithms and header names: S3 user guide, "Checking object integrity". Pure functions.
"""

import hashlib
import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from typing import Any

from fusefs.crc32 import crc32
from fusefs.s3.partbody import Body, pieces_of

CRC32 = re.compile("[A-Za-z0-9+/]{6}==")


def crc32_of(body: Body) -> str:
    """Return the CRC32 of a body."""
    if isinstance(body, (bytes, bytearray)):
        checksum = crc32(body)
    else:
        checksum = 0
        for piece in body.pieces():
            checksum = crc32(piece, checksum)
    return b2a_base64(checksum.to_bytes(4, "big"), newline=False).decode()


def md5_of(body: Body) -> str:
    """Return the MD5 of a body."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces_of(body):
        digest.update(piece)
    return _text(digest.digest())


def is_crc32(text: str | None) -> bool:
    """Say whether a text is a CRC32 as S3 writes it, not one of checksums (`…==-4`)."""
    return text is not None and CRC32.fullmatch(text) is not None


def agree(answer: Mapping[str, Any], body: bytes | bytearray) -> bool:
    """Compare a whole object with the checksum that came with it; True where none did.

    Checksums of checksums (`COMPOSITE`, written with the number of parts behind a dash) and
    algorithms that Python's library lacks say nothing here.
    """
    if answer.get("ChecksumType") == "COMPOSITE":
        return True
    for name, checksum in _KNOWN.items():
        sent = str(answer.get(name, ""))
        if sent and "-" not in sent and sent != checksum(body):
            return False
    return True


def _text(digest: bytes) -> str:
    return b2a_base64(digest, newline=False).decode()


_KNOWN: dict[str, Callable[[bytes | bytearray], str]] = {
    "ChecksumCRC32": crc32_of,
    "ChecksumSHA1": lambda body: _text(hashlib.sha1(body, usedforsecurity=False).digest()),
    "ChecksumSHA256": lambda body: _text(hashlib.sha256(body).digest()),
}
