"""The index file of one cached version: which blocks are on disk, and the CRC32 of each.

Layout (little endian), one index file beside one sparse data file:

    0       header, 2048 bytes: magic, format, block size, object size, lengths of key and ETag,
            1 where the kernel may read the data file by itself, key, ETag, zeros; its last 4 bytes
            are the CRC32 of all before
    2048    one byte per block, 1 where the block is on disk
    2048+n  CRC32 of each block, 4 bytes each

One byte per block instead of one bit: the table read from disk is the table in memory, and
`bytes` methods search it at the speed of C. The index of a small file fits one disk page.
The flag is written after the data and after its CRC, so a process killed between two writes
leaves a miss. Whatever else a crash or a bad disk does to either file, the CRC of a block or of
the header no longer fits and the block or the file is a miss; never a wrong byte.

Not here: block contents, counting of space (`cachefile`).

Threading: concurrent calls must be for distinct blocks; `_header`, a leaf, guards what the header
says, and is held over the write of it.
"""

import hashlib
import os
import struct
from array import array
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from fusefs import locks
from fusefs.crc32 import crc32
from fusefs.locks import Rank

FORMAT = 1
MAGIC = b"s3mblock"
HEADER = 2048
FIXED = struct.Struct("<8sHHHHQQ")  # magic, format, key length, ETag length, kept, block, size
CHECK = struct.Struct("<I")
BLOCK = 128 * 1024
# Past 1 TiB larger blocks keep the table of an open file under 50 MiB at S3's 50 TiB.
HUGE = 1024**4
HUGE_BLOCK = 1024 * 1024

ABSENT, STORED = 0, 1
_SANE = bytes([ABSENT]) + bytes([STORED]) * 255


class BrokenIndex(Exception):
    """The index is damaged or of another version: the files are dropped without a report."""


@dataclass(frozen=True)
class Identity:
    """One version of one object; its content never changes."""

    key: str
    etag: str
    size: int

    @cached_property
    def name(self) -> str:
        """The file name of this version: hashes of key and ETag."""
        return f"{key_hash(self.key)}-{_hash(self.etag, 12)}"

    @cached_property
    def block(self) -> int:
        """Bytes per block."""
        return BLOCK if self.size <= HUGE else HUGE_BLOCK

    @property
    def blocks(self) -> int:
        """Number of blocks, the last one perhaps short."""
        return -(-self.size // self.block)

    def length(self, start: int, stop: int) -> int:
        """Return the bytes in the blocks [start, stop)."""
        return min(stop * self.block, self.size) - start * self.block


def key_hash(key: str) -> str:
    """Return the part of a version's file name that all versions of a key share."""
    return _hash(key, 16)


def _hash(text: str, size: int) -> str:
    return hashlib.blake2b(_encode(text), digest_size=size).hexdigest()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _header(identity: Identity, kept: bool = False) -> bytes:
    key, etag = _encode(identity.key), _encode(identity.etag)
    fixed = FIXED.pack(MAGIC, FORMAT, len(key), len(etag), kept, identity.block, identity.size)
    body = fixed + key + etag
    if len(body) > HEADER - CHECK.size:
        raise BrokenIndex(f"key and ETag of {len(key)} and {len(etag)} bytes don't fit the index")
    body = body.ljust(HEADER - CHECK.size, b"\0")
    return body + CHECK.pack(crc32(body))


def _read_header(header: bytes) -> tuple[Identity, bool]:
    if len(header) != HEADER:
        raise BrokenIndex("short header")
    body, check = header[: -CHECK.size], header[-CHECK.size :]
    if CHECK.pack(crc32(body)) != check:
        raise BrokenIndex("header checksum")
    magic, version, key_size, etag_size, kept, block, size = FIXED.unpack_from(body)
    text = body[FIXED.size :]
    key, etag = text[:key_size], text[key_size : key_size + etag_size]
    identity = Identity(
        key.decode("utf-8", "surrogateescape"), etag.decode("utf-8", "surrogateescape"), size
    )
    if (magic, version, block) != (MAGIC, FORMAT, identity.block):
        raise BrokenIndex("unknown format")
    return identity, bool(kept)


class BlockIndex:
    """An open index file."""

    def __init__(self, fd: int, identity: Identity, kept: bool = False) -> None:
        self.fd = fd
        self.identity = identity
        self.kept = kept  # whether the bytes stay as they are, as long as anybody has the file
        self._header = locks.lock(Rank.LEAF)

    @classmethod
    def create(
        cls, path: str, identity: Identity, sums: "array[int] | None" = None
    ) -> "BlockIndex":
        """Make a new index; raises OSError, or `BrokenIndex` if key and ETag are too long.

        It has no block, or all of them where `sums` are their checksums.
        """
        header = _header(identity)
        if sums is not None:
            header += bytes([STORED]) * len(sums) + sums.tobytes()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, header, 0)
        except BaseException:
            os.close(fd)
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - a text, as in `cachedir.Pair`
            raise
        return cls(fd, identity)

    @classmethod
    def load(cls, path: str) -> "BlockIndex":
        """Open the index of a former process; `BrokenIndex` or OSError if it isn't usable."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return cls(fd, *_read_header(os.pread(fd, HEADER, 0)))
        except BaseException:
            os.close(fd)
            raise

    def states(self) -> bytearray:
        """Return ABSENT or STORED for each block; ABSENT for what can't be read."""
        count = self.identity.blocks
        try:
            flags = os.pread(self.fd, count, HEADER)
        except OSError:
            flags = b""
        return bytearray(flags.ljust(count, b"\0").translate(_SANE))

    def sums(self, first: int, count: int) -> "array[int]":
        """Return the CRC32 of each of `count` blocks; 0 for one never written."""
        size = 4 * count
        raw = os.pread(self.fd, size, HEADER + self.identity.blocks + 4 * first)
        return array("I", raw.ljust(size, b"\0"))

    def mark(self, first: int, sums: "array[int]") -> None:
        """Mark blocks as present; their data must have been written before."""
        _write(self.fd, sums.tobytes(), HEADER + self.identity.blocks + 4 * first)
        _write(self.fd, bytes([STORED]) * len(sums), HEADER + first)

    def clear(self, first: int, count: int) -> None:
        """Mark blocks as absent."""
        _write(self.fd, bytes(count), HEADER + first)

    def rename(self, identity: Identity) -> None:
        """Change key and ETag; the blocks stay."""
        with self._header:
            _write(self.fd, _header(identity, self.kept), 0)
            self.identity = identity

    def keep(self) -> None:
        """Note, for each process that comes, that the bytes have to stay as they are."""
        if self.kept:
            return
        with self._header:
            _write(self.fd, _header(self.identity, kept=True), 0)
            self.kept = True

    def close(self) -> None:
        os.close(self.fd)


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done
