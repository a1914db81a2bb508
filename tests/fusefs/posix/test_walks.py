"""Walks under a bucket policy that allows LISTs with a delimiter only (`s3:delimiter`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusefs.errors import NotEmpty
from fusefs.interface import ROOT
from tests.fusefs.unmounted import Unmounted
from tests.proxy.faults import ACCESS_DENIED
from tests.proxy.proxy import Proxy
from tests.stores.contents import Stored
from tests.stores.server import QuirkyStore

DOTS = 2
LOWER = ("d/1", "d/2")


@dataclass
class Program:
    """A program that reads directories, and the requests."""

    store: QuirkyStore
    proxy: Proxy
    unmounted: Unmounted
    listed: int = 0

    def put(self, *keys: str) -> None:
        """Have somebody else store objects."""
        self.store.contents.objects |= {key: Stored(b"1234", "e") for key in keys}

    def read(self, directory: str) -> list[str]:
        """Read all names of a directory."""
        calls = self.unmounted.calls
        handle = calls.opendir(self.unmounted.node(directory) if directory else ROOT).handle
        entries, found = list(calls.readdir(handle, 0, 500)), 500
        while found:
            more = calls.readdir(handle, entries[-1].offset, 500)
            entries, found = [*entries, *more], len(more)
        calls.releasedir(handle)
        return [entry.name for entry in entries[DOTS:]]

    def lists(self) -> list[bool]:
        """Return which LISTs there were since the last time: whether with a delimiter."""
        self.proxy.settle()
        lists = [seen for seen in self.proxy.requests if seen.operation == "ListObjectsV2"]
        new, self.listed = lists[self.listed :], len(lists)
        return ["delimiter" in seen.query for seen in new]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A program before an empty bucket that refuses LISTs without a delimiter."""
    with (
        QuirkyStore() as store,
        Proxy(store.endpoint) as proxy,
        Unmounted(store.bucket, tmp_path, proxy.endpoint) as unmounted,
    ):
        proxy.inject(
            ACCESS_DENIED,
            lambda seen: seen.operation == "ListObjectsV2" and "delimiter" not in seen.query,
            times=None,
        )
        made = Program(store, proxy, unmounted)
        made.lists()
        yield made


def files(directory: str, count: int) -> list[str]:
    """Return the keys of so many files in a directory."""
    return [f"{directory}/{name}" for name in names(count)]


def names(count: int) -> list[str]:
    """Return the names of so many files."""
    return [f"f{number:04}" for number in range(count)]


def test_who_may_only_list_with_a_delimiter_reads_all(program: Program) -> None:
    """Each directory is listed by itself; a walk isn't tried again for each of them."""
    program.put(*(key for directory in ("a", "b", "c", *LOWER) for key in files(directory, 5)))
    program.read("")
    assert [program.read(directory) for directory in "ab"] == [names(5)] * 2
    assert False in program.lists()
    assert [program.read(directory) for directory in ("c", *LOWER)] == [names(5)] * 3
    assert False not in program.lists(), "nor below another parent"


def test_who_may_only_list_with_a_delimiter_removes_directories(program: Program) -> None:
    """Empty ones, and renames onto them; what has a file, or a directory below it, stays."""
    program.put("a/", "b/", "b/file", "c/", "c/below/file", "d/", "d/only/")
    calls = program.unmounted.calls
    for full in "bcd":
        with pytest.raises(NotEmpty):
            calls.rmdir(ROOT, full)
        with pytest.raises(NotEmpty):
            calls.rename(ROOT, "a", ROOT, full)
    calls.rmdir(ROOT, "a")
    assert "a/" not in program.store.contents.objects
