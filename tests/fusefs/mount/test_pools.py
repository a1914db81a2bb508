"""The threads of a mount that wait for the store."""

from __future__ import annotations

import pytest

from fusefs.errors import Unavailable
from fusefs.mount.pools import RequestPool


def test_a_call_after_the_end_of_the_mount_is_no_bug() -> None:
    """A caller that comes while the mount ends gets EIO, and the log no traceback."""
    pool = RequestPool(1)
    pool.shutdown()
    with pytest.raises(Unavailable, match="the mount has ended"):
        pool.submit(print)
