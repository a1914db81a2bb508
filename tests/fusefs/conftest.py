"""Fixtures of tests of the file system's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fusefs.unmounted import Unmounted
from tests.fusefs.workbench import Workbench
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

Benches = Callable[..., Workbench]


@pytest.fixture
def benches(tmp_path: Path, bucket: Bucket, proxy: Proxy) -> Iterator[Benches]:
    """Make workbenches on the test's bucket, behind its proxy; all end with the test."""
    with ExitStack() as stack:

        def make(name: str = "bench", **told: Any) -> Workbench:
            bench = Workbench(bucket, tmp_path / name, proxy.endpoint, **told)
            return stack.enter_context(bench)

        yield make


@pytest.fixture
def bench(benches: Benches) -> Workbench:
    """A workbench with small parts."""
    return benches()


@pytest.fixture
def unmounted(tmp_path: Path, bucket: Bucket, proxy: Proxy) -> Iterator[Unmounted]:
    """The filesystem of the test's bucket, behind its proxy, without a mount."""
    with Unmounted(bucket, tmp_path / "unmounted", proxy.endpoint) as unmounted:
        yield unmounted
        proxy.heal()
