"""Layouts against the sizes of <linux/fuse.h>."""

from struct import Struct

import pytest

from fusefs.kernel import wire

SIZES = {
    "IN_HEADER": 40,
    "OUT_HEADER": 16,
    "ATTR": 88,
    "ENTRY_OUT": 128,
    "ATTR_OUT": 104,
    "STATX_IN": 24,
    "STATX_OUT": 288,
    "KSTATFS": 80,
    "INIT_IN": 16,
    "INIT_IN_EXT": 64,
    "INIT_OUT": 64,
    "BATCH_FORGET_IN": 8,
    "FORGET_ONE": 16,
    "GETATTR_IN": 16,
    "SETATTR_IN": 88,
    "MKNOD_IN": 16,
    "MKDIR_IN": 8,
    "RENAME2_IN": 16,
    "OPEN_IN": 8,
    "CREATE_IN": 16,
    "OPEN_OUT": 16,
    "RELEASE_IN": 24,
    "FLUSH_IN": 24,
    "READ_IN": 40,
    "WRITE_IN": 40,
    "WRITE_OUT": 8,
    "FSYNC_IN": 16,
    "SETXATTR_IN": 16,
    "SETXATTR_IN_COMPAT": 8,
    "GETXATTR_IN": 8,
    "GETXATTR_OUT": 8,
    "FALLOCATE_IN": 32,
    "LSEEK_IN": 24,
    "COPY_FILE_RANGE_IN": 56,
    "DIRENT": 24,
    "NOTIFY_INVAL_INODE_OUT": 24,
    "NOTIFY_INVAL_ENTRY_OUT": 16,
    "NOTIFY_PRUNE_OUT": 16,
    "NOTIFY_STORE_OUT": 24,
    "FORGET_IN": 8,
    "RENAME_IN": 8,
    "LINK_IN": 8,
    "INTERRUPT_IN": 8,
    "LSEEK_OUT": 8,
    "COPY_FILE_RANGE_OUT": 8,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_a_layout_has_the_size_of_the_headers_struct(name: str, size: int) -> None:
    """Each struct is as long as sizeof() says in C."""
    assert getattr(wire, name).size == size


def test_every_layout_is_checked() -> None:
    """A new layout can't come without its size."""
    assert {name for name, value in vars(wire).items() if isinstance(value, Struct)} == set(SIZES)


def test_directory_records_are_aligned_to_eight_bytes() -> None:
    """FUSE_REC_ALIGN: the next record begins at a multiple of eight."""
    assert [wire.record_size(length, 24) for length in (0, 1, 8, 9)] == [24, 32, 32, 40]
