"""The index of a cached version, by itself."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from fusefs.cache.blockindex import BlockIndex, Identity


def test_an_index_that_cant_be_written_leaves_no_file(tmp_path: Path) -> None:
    """A full disk: the next start has nothing to remove."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            BlockIndex.create(str(tmp_path / "x.index"), Identity("key", "etag", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []
