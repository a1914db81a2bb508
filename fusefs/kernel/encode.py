"""Encodes the filesystem's answers as the kernel's structs: attributes, entries, directory records.

Pure functions; nothing here calls the filesystem. Usable from any thread.
"""

import os
from stat import S_IFMT

from fusefs.interface import Attributes, Statfs
from fusefs.kernel import wire
from fusefs.kernel.backing import inode_number

SECTOR = 512  # st_blocks counts these, whatever the block size
PREFERRED_IO = 4096
SECOND = 1_000_000_000
MASK32 = 0xFFFFFFFF


def _fields(attributes: Attributes, number: int) -> tuple[int, ...]:
    a = attributes
    return (
        number,
        a.size,
        (a.size + SECTOR - 1) // SECTOR,
        a.atime_ns // SECOND,
        a.mtime_ns // SECOND,
        a.ctime_ns // SECOND,
        a.atime_ns % SECOND,
        a.mtime_ns % SECOND,
        a.ctime_ns % SECOND,
        a.mode,
        a.nlink,
        a.uid & MASK32,
        a.gid & MASK32,
        a.rdev,
        PREFERRED_IO,
        0,
    )


def _validity(ttl: float) -> tuple[int, int]:
    seconds = int(ttl)
    return seconds, int((ttl - seconds) * SECOND)


def attr_out(attributes: Attributes, kernel_id: int) -> bytes:
    """Lay out `fuse_attr_out`."""
    number = inode_number(kernel_id, attributes.inode)
    seconds, nanoseconds = _validity(attributes.ttl)
    return wire.ATTR_OUT.pack(seconds, nanoseconds, 0, *_fields(attributes, number))


def entry_out(attributes: Attributes, kernel_id: int) -> bytes:
    """Lay out `fuse_entry_out`; the name's TTL is that of settled attributes."""
    seconds, nanoseconds = _validity(attributes.ttl)
    attr = (seconds, nanoseconds) if attributes.settled else (0, 0)
    return wire.ENTRY_OUT.pack(
        *(kernel_id, 0, seconds, attr[0], nanoseconds, attr[1]),
        *_fields(attributes, inode_number(kernel_id, attributes.inode)),
    )


def no_entry_out(ttl: float) -> bytes:
    """Lay out a negative `fuse_entry_out`: the name doesn't exist, valid for `ttl` seconds."""
    seconds, nanoseconds = _validity(ttl)
    return wire.ENTRY_OUT.pack(0, 0, seconds, 0, nanoseconds, 0, *([0] * 16))


UNKNOWN_ENTRY = bytes(wire.ENTRY_OUT.size)


def statx_out(attributes: Attributes, kernel_id: int) -> bytes:
    """Lay out `fuse_statx_out` with the basic fields; S3 has no time of birth."""
    a, number = attributes, inode_number(kernel_id, attributes.inode)
    seconds, nanoseconds = _validity(a.ttl)
    return wire.STATX_OUT.pack(
        *(seconds, nanoseconds, 0),
        *(wire.STATX_BASIC_STATS, PREFERRED_IO, 0),
        *(a.nlink, a.uid & MASK32, a.gid & MASK32, a.mode),
        *(number, a.size, (a.size + SECTOR - 1) // SECTOR, 0),
        *(*divmod(a.atime_ns, SECOND), 0, 0),
        *(*divmod(a.ctime_ns, SECOND), *divmod(a.mtime_ns, SECOND)),
        *(os.major(a.rdev), os.minor(a.rdev), 0, 0),
    )


def statfs_out(answer: Statfs) -> bytes:
    """Lay out `fuse_statfs_out`; fragment and block size are the same."""
    s = answer
    sizes = (s.blocks, s.bfree, s.bavail, s.files, s.ffree)
    return wire.KSTATFS.pack(*sizes, s.bsize, s.namemax, s.bsize, 0)


def dirent(node: int, offset: int, name: bytes, mode: int) -> bytes:
    """Lay out `fuse_dirent` and its name, padded to eight bytes."""
    head = wire.DIRENT.pack(node, offset, len(name), S_IFMT(mode) >> 12)
    return (head + name).ljust(wire.record_size(len(name), wire.DIRENT.size), b"\0")
