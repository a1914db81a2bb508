"""Waiting for what another thread or process will do. Test code of all packages."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], seconds: float = 15) -> None:
    """Look every 10 ms until `holds` returns something true; a test fails that waits longer."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.01)
