"""POSIX access ACLs as the kernel hands them over, and the permission bits they stand for.

A file system has to keep the two in step (the kernel leaves it to a FUSE daemon): `cp -a` sets
permissions by an ACL, and never by chmod where that succeeds. Layout: linux/posix_acl_xattr.h,
version 2. Pure functions.
"""

import struct

from fusefs.errors import Invalid

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_VERSION = 2
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20
_NAMED = 0x02, 0x08  # ACL_USER, ACL_GROUP


def permissions(value: bytes) -> tuple[int, bool]:
    """Return the nine permission bits of an ACL, and whether they say all of it.

    The group's bits are the mask where there is one. Raises Invalid for what isn't an ACL.
    """
    bits = {tag: bits for tag, bits, _ in _entries(value)}
    if not {_USER_OBJ, _GROUP_OBJ, _OTHER} <= bits.keys():
        raise Invalid(f"{ACCESS}: owner, group or others are missing")
    group = bits.get(_MASK, bits[_GROUP_OBJ])
    minimal = bits.keys() == {_USER_OBJ, _GROUP_OBJ, _OTHER}
    return bits[_USER_OBJ] << 6 | group << 3 | bits[_OTHER], minimal


def with_permissions(value: bytes, mode: int) -> bytes:
    """Return an ACL after chmod: owner, others, and the mask or else the group change."""
    entries = _entries(value)
    masked = any(tag == _MASK for tag, _, _ in entries)
    new = {
        _USER_OBJ: mode >> 6 & 7,
        _OTHER: mode & 7,
        _MASK if masked else _GROUP_OBJ: mode >> 3 & 7,
    }
    packed = [_ENTRY.pack(tag, new.get(tag, bits), owner) for tag, bits, owner in entries]
    return b"".join([_HEADER.pack(_VERSION), *packed])


def _entries(value: bytes) -> list[tuple[int, int, int]]:
    size, rest = divmod(len(value) - _HEADER.size, _ENTRY.size)
    if size < 0 or rest or _HEADER.unpack_from(value) != (_VERSION,):
        raise Invalid(f"{ACCESS}: not an ACL of version {_VERSION}")
    entries = [(tag, bits, owner) for tag, bits, owner in _ENTRY.iter_unpack(value[4:])]
    known = {_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER, *_NAMED}
    if any(tag not in known or bits > 7 for tag, bits, _ in entries):
        raise Invalid(f"{ACCESS}: an entry of an unknown kind")
    return entries
