"""Scans of a directory: what is requested ahead of the reader, and what that saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusefs.errors import AccessDenied
from fusefs.interface import ROOT, DirEntry
from tests.fusefs.unmounted import Unmounted
from tests.proxy.faults import ACCESS_DENIED
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket
from tests.stores.contents import Stored
from tests.stores.server import QuirkyStore

DOTS = 2


def names(number: int) -> list[str]:
    """Return names in their order."""
    return [f"f{each:04}" for each in range(number)]


class Reader:
    """A program that reads a directory."""

    def __init__(self, unmounted: Unmounted, node: int = ROOT) -> None:
        self._calls = unmounted.calls
        self._handle = unmounted.calls.opendir(node).handle
        self._offset = 0

    def read(self, count: int) -> Sequence[DirEntry]:
        """Read the next so many entries."""
        found = self._calls.readdir(self._handle, self._offset, count)
        self._offset = found[-1].offset
        return found


def scan(unmounted: Unmounted, bucket: Bucket) -> Reader:
    """Read ten names of forty, and look at the first of them: the next ones are asked for ahead."""
    bucket.put_many(names(40), b"1234")
    reader = Reader(unmounted)
    reader.read(10 + DOTS)
    for name in names(8):
        unmounted.calls.lookup(ROOT, name)
    return reader


def test_what_a_scan_asked_for_comes_with_the_names(
    unmounted: Unmounted, bucket: Bucket, proxy: Proxy
) -> None:
    """READDIRPLUS returns attributes: no LOOKUP has to, and nothing is requested twice."""
    reader = scan(unmounted, bucket)
    entries = reader.read(30)
    assert all(entry.known for entry in entries)
    adopted = [unmounted.calls.adopt(ROOT, entry.name) for entry in entries]
    assert [each.size for each in adopted if each is not None and each.settled] == [4] * 30
    proxy.settle()
    asked = [exchange.key for exchange in proxy.requests if exchange.key in names(40)]
    assert len(asked) == len(set(asked)) == 40


def test_names_alone_cost_no_attributes(unmounted: Unmounted, bucket: Bucket, proxy: Proxy) -> None:
    """Without a scan nothing is known, and nothing is asked for."""
    bucket.put_many(names(40), b"1234")
    entries = Reader(unmounted).read(40 + DOTS)
    assert not any(entry.known for entry in entries[DOTS:])
    assert "HeadObject" not in proxy.requests.operations


def test_a_name_whose_attributes_are_refused_is_listed(
    unmounted: Unmounted, bucket: Bucket, proxy: Proxy
) -> None:
    """Its own LOOKUP says why; the other names of the directory are read."""
    refused = names(40)[20]
    proxy.inject(ACCESS_DENIED, lambda seen: seen.key == refused, times=None)
    entries = scan(unmounted, bucket).read(30)
    adopted = {entry.name: unmounted.calls.adopt(ROOT, entry.name) for entry in entries}
    assert [name for name, found in adopted.items() if found is None] == [refused]
    with pytest.raises(AccessDenied):
        unmounted.calls.lookup(ROOT, refused)


@pytest.fixture
def large() -> Iterator[QuirkyStore]:
    """A store with a directory of two pages."""
    with QuirkyStore() as store:
        store.contents.objects |= {name: Stored(b"", "e") for name in names(1001)}
        yield store


@pytest.mark.parametrize(
    ("read", "pages", "without"),
    [(400, 1, frozenset()), (600, 2, frozenset()), (600, 1, frozenset({"lists"}))],
)
def test_the_next_page_is_requested_before_the_reader_needs_it(
    large: QuirkyStore, tmp_path: Path, read: int, pages: int, without: frozenset[str]
) -> None:
    """Once half of a page was read; and no page twice."""
    with (
        Proxy(large.endpoint) as proxy,
        Unmounted(large.bucket, tmp_path, proxy.endpoint, {"without": without}) as unmounted,
    ):
        reader = Reader(unmounted)
        with proxy.counting() as seen:
            reader.read(read)
            proxy.settle()
        assert seen.operations == {"ListObjectsV2": pages}
        with proxy.counting() as seen:
            while len(reader.read(200)) == 200:
                """Read on."""
            proxy.settle()
        assert seen.operations.get("ListObjectsV2", 0) == 2 - pages


def tree(store: QuirkyStore, directories: int, files: int) -> None:
    """Store a directory `tree` of directories of files."""
    store.contents.objects |= {
        f"tree/{directory:02}/{name}": Stored(b"1234", "e")
        for directory in range(directories)
        for name in names(files)
    }


@dataclass
class Walked:
    """A program that walks `tree`, and the requests."""

    proxy: Proxy
    unmounted: Unmounted

    def list(self, directory: str) -> tuple[int, Sequence[DirEntry]]:
        """Read the names of a directory."""
        node = self.unmounted.node(directory)
        return node, Reader(self.unmounted, node).read(1000)[DOTS:]

    def look(self, directory: str) -> list[str]:
        """Read a directory and look at all; return the names that the kernel had to look up."""
        node, entries = self.list(directory)
        calls = self.unmounted.calls
        looked_up = [  # READDIRPLUS returns the others
            entry.name for entry in entries if not (entry.known and calls.adopt(node, entry.name))
        ]
        for name in looked_up:
            calls.lookup(node, name)
        return looked_up

    def asked(self) -> list[str]:
        """Return the keys of files whose attributes were requested."""
        self.proxy.settle()
        asked = [*self.proxy.requests.of("HeadObject"), *self.proxy.requests.of("GetObject")]
        keys = [seen.key for seen in asked]
        return [key for key in keys if key.startswith("tree/") and not key.endswith("/")]


@pytest.fixture
def walked(large: QuirkyStore, tmp_path: Path) -> Iterator[Walked]:
    """A walk of forty directories of twenty files, before the first."""
    tree(large, 40, 20)
    with (
        Proxy(large.endpoint) as proxy,
        Unmounted(large.bucket, tmp_path, proxy.endpoint) as unmounted,
    ):
        walked = Walked(proxy, unmounted)
        walked.list("tree")
        yield walked


def test_a_walk_that_looks_at_all_finds_attributes_with_the_names(walked: Walked) -> None:
    """From the second directory on, but for one name of each: that shows that somebody looks."""
    looked_up = [walked.look(f"tree/{number:02}") for number in range(40)]
    assert [len(each) for each in looked_up[2:]] == [1] * 38
    files = walked.asked()
    assert len(files) == len(set(files)) == 800


def test_a_walk_that_only_reads_names_asks_for_no_more(walked: Walked) -> None:
    """After a scan of its first directories, the names of a few are asked for in vain."""
    for number in range(3):
        walked.look(f"tree/{number:02}")
    for number in range(3, 40):
        walked.list(f"tree/{number:02}")
    assert max(walked.asked()) < "tree/21"  # 256 names beyond the fourth


def test_a_walk_that_reads_names_from_the_start_asks_for_nothing(walked: Walked) -> None:
    """Not one HEAD of a file, and each page of the walk once."""
    for number in range(40):
        walked.list(f"tree/{number:02}")
    assert not walked.asked()
    lists = [seen for seen in walked.proxy.requests if seen.operation == "ListObjectsV2"]
    targets = [sorted(seen.query.items()) for seen in lists]
    assert len(targets) == len({str(each) for each in targets})
