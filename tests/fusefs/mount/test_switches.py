"""Savings that a mount leaves out, where no kernel is needed to see it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fusefs.unmounted import Unmounted
from tests.servers.s3 import Bucket

SIZE = 256 << 10


@pytest.mark.parametrize("without", [frozenset[str](), frozenset({"passthrough"})])
def test_a_read_only_mount_without_passthrough_gives_the_kernel_no_file(
    bucket: Bucket, tmp_path: Path, without: frozenset[str]
) -> None:
    """With the saving it gets the descriptor of each file that is cached as a whole."""
    bucket.put("f", bytes(SIZE))
    told = {"read_only": True, "without": without}
    with Unmounted(bucket, tmp_path, bucket.endpoint, told) as mount:
        node, view = mount.node("f"), memoryview(bytearray(SIZE))
        first = mount.calls.open(node, os.O_RDONLY)
        assert mount.calls.read_into(first.handle, 0, view) == SIZE
        again = mount.calls.open(node, os.O_RDONLY)
        assert (again.whole_fd < 0, again.asked) == (bool(without), False)
