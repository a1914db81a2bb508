"""ACLs and permission bits, in the kernel's layout."""

from __future__ import annotations

import struct

import pytest

from fusefs.errors import Invalid
from fusefs.posix import acl

NOBODY = 0xFFFFFFFF


def packed(*entries: tuple[int, int, int]) -> bytes:
    """Return an ACL as the kernel packs it."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


MINIMAL = packed((1, 6, NOBODY), (4, 4, NOBODY), (32, 4, NOBODY))
EXTENDED = packed((1, 7, NOBODY), (2, 6, 1000), (4, 5, NOBODY), (16, 6, NOBODY), (32, 1, NOBODY))


def test_a_minimal_acl_is_its_permission_bits() -> None:
    """Three entries say what a mode says."""
    assert acl.permissions(MINIMAL) == (0o644, True)


def test_the_mask_stands_for_the_group() -> None:
    """With named users the group's bits are the mask; the mode doesn't say all."""
    assert acl.permissions(EXTENDED) == (0o761, False)


def test_chmod_changes_owner_mask_and_others() -> None:
    """Named users and the owning group keep their entries."""
    changed = acl.with_permissions(EXTENDED, 0o640)
    assert acl.permissions(changed) == (0o640, False)
    assert changed[12:28] == EXTENDED[12:28]


@pytest.mark.parametrize(
    "value", [b"", b"\2\0\0", b"\3\0\0\0", MINIMAL[:-1], packed((1, 6, 0)), packed((64, 6, 0))]
)
def test_what_is_no_acl(value: bytes) -> None:
    """EINVAL, as the kernel says of it."""
    with pytest.raises(Invalid):
        acl.permissions(value)
