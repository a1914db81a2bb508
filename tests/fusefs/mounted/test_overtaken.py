"""Answers that our own changes have overtaken: none of them is taken for news.

The store's answer to a question is held back at the proxy while another descriptor of the same
mount commits. The order is exact, nothing is timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import TypeVar

import pytest

from tests.fusefs.mounted.conftest import Place, Share, Shared
from tests.proxy.exchange import Match, on
from tests.proxy.faults import HeldAnswer
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Endpoint

TTL = 0.5
T = TypeVar("T")


@pytest.fixture(scope="module")
def brisk(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount behind a proxy that trusts what it knows for half a second."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy, "--attr-ttl", str(TTL)) as shared:
        yield shared


@pytest.fixture
def given(brisk: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory that the brisk mount has never heard of."""
    with brisk.place(request) as place:
        yield place


@pytest.fixture
def trusted(tapped: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The same in a mount that trusts what it knows for a minute."""
    with tapped.place(request) as place:
        yield place


@contextmanager
def held(shared: Shared, match: Match, call: Callable[[], T]) -> Iterator[Future[T]]:
    """Have `call` wait, inside the block, for an answer that the store has given already."""
    assert shared.proxy is not None
    fault = HeldAnswer()
    injection = shared.proxy.inject(fault, match)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        try:
            fault.wait_for(1, seconds=10)
            yield future
        finally:
            injection.stop()
            fault.let_go()


def append(path: Path, data: bytes) -> None:
    """Append as a shell's `>>` does."""
    with path.open("ab", buffering=0) as file:
        file.write(data)


def test_an_open_that_asked_before_a_commit_is_no_conflict(tapped: Shared, trusted: Place) -> None:
    """Two appenders: the one whose HEAD was answered before the other's commit loses nothing."""
    trusted.keys.put("f", b"1234")
    path = trusted / "f"
    asking = on("HeadObject", f"{trusted.keys.prefix}f")
    with path.open("ab", buffering=0) as first:
        with held(tapped, asking, lambda: os.open(path, os.O_WRONLY | os.O_APPEND)) as second:
            first.write(b"56")
            os.fsync(first.fileno())
        os.write(second.result(), b"78")
        os.close(second.result())
    assert trusted.keys.get("f") == b"12345678"


def test_a_reader_that_asked_before_a_commit_puts_nothing_back(
    tapped: Shared, trusted: Place
) -> None:
    """Its GET was answered with the former version: names and sizes stay those of the later."""
    trusted.keys.put("f", b"1234")
    path = trusted / "f"
    asking = on("GetObject", f"{trusted.keys.prefix}f")
    with path.open("ab", buffering=0) as file:
        with held(tapped, asking, path.read_bytes) as read:
            file.write(b"56")
            os.fsync(file.fileno())
        assert read.result() in (b"1234", b"123456")
        assert path.stat().st_size == 6
        file.write(b"78")
    assert trusted.keys.get("f") == b"12345678"


@pytest.mark.parametrize(
    "operations", [("HeadObject", "GetObject"), ("ListObjectsV2",)], ids=["object", "list"]
)
def test_a_stat_that_asked_before_a_commit_changes_nothing(
    brisk: Shared, given: Place, operations: Sequence[str]
) -> None:
    """After a close the new size is seen, whatever other processes were asking meanwhile."""
    given.keys.put("f", b"1234")
    path = given / "f"
    assert path.stat().st_size == 4
    with path.open("ab", buffering=0) as file:
        sleep(TTL)
        with held(brisk, lambda seen: seen.operation in operations, path.stat):
            file.write(b"56")
            file.close()
    assert path.stat().st_size == 6


def test_a_listing_that_was_asked_for_before_a_commit(brisk: Shared, given: Place) -> None:
    """`ls -l` under way while a file is appended to: the next `stat` tells the new size."""
    given.keys.put_many(["a", "f", "z"], b"1234")
    path = given / "f"
    assert path.stat().st_size == 4
    with held(brisk, on("ListObjectsV2"), lambda: os.listdir(given.path)):
        append(path, b"56")
    assert path.stat().st_size == 6
    assert {entry.name: entry.stat().st_size for entry in os.scandir(given.path)}["f"] == 6


@pytest.mark.one_driver  # libfuse 2 lets nobody remove a name that is being looked up
def test_a_removed_file_does_not_come_back_by_an_old_answer(brisk: Shared, given: Place) -> None:
    """A HEAD that saw it is answered after it was removed: it stays removed."""
    given.keys.put("f", b"1234")
    path = given / "f"
    assert path.exists()
    sleep(TTL)
    with held(brisk, on("HeadObject", f"{given.keys.prefix}f"), path.exists):
        path.unlink()
    assert not path.exists()
    assert os.listdir(given.path) == []
