"""A mount of a directory with very many names, its store made up, its kernel a count of lookups.

All between the two is ours and real. As a program it lists, stats and removes all names, and prints
what memory that took: a process of its own, since a process never gets smaller.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from fusefs.interface import ROOT, Attributes, KnownName
from fusefs.mount.mount import Mounted
from fusefs.mount.settings import MountSettings
from fusefs.objects import Headers, ObjectInfo, Page
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from fusefs.session.startmode import StartMode

MIB = 1 << 20
ANSWER = 100  # entries that fit into an answer of the kernel's usual size
HEADERS = {"mode": str(stat.S_IFREG | 0o644), "uid": "1000", "gid": "1000", "mtime": "1700000000"}


class Generated(Store):
    """A bucket of `count` objects `some-dataset-part-NUMBER`; `small` ones need a HEAD each."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__(StoreSettings("crowd", endpoint_url="http://127.0.0.1:1"))
        self.count = count
        self.size = size
        self.lists: list[str | None] = []
        self.gone: set[int] = set()

    def list_page(
        self,
        prefix: str,
        delimiter: str = "/",
        token: str | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page:
        """Answer as S3 does, from a number."""
        if prefix:
            return Page(())
        self.lists.append(after)
        first = int(token) if token else int(after[-8:]) + 1 if after else 0
        there = range(first, min(first + limit, self.count))
        more = str(first + limit) if first + limit < self.count else None
        return Page(tuple(self._info(at) for at in there if at not in self.gone), (), more)

    def begin_head(self, key: str) -> None:
        """There is no connection that could be idle."""

    def head(self, key: str) -> ObjectInfo:
        """Tell attributes as s3fs stores them."""
        at = int(key[-8:])
        told = self._info(at)
        headers = Headers({**HEADERS, "ctime": f"17{at:08}"}, {"ContentType": "text/plain"})
        return ObjectInfo(key, told.size, told.etag, told.modified, headers)

    def _info(self, at: int) -> ObjectInfo:
        key = f"some-dataset-part-{at:08}"
        return ObjectInfo(key, self.size, f"{at:032x}", 1.7e9 + at, storage_class="STANDARD")

    def delete(self, key: str, etag: str | None = None) -> None:
        """Forget a key."""
        self.gone.add(int(key[-8:]))


class Kernel:
    """What the kernel does with names and nodes.

    It gives back what it is asked for, and what was removed, for nobody has it open.
    """

    def __init__(self) -> None:
        self.lookups: dict[int, int] = {}
        self._nodes: dict[str, int] = {}  # by their names in the one directory
        self._unneeded: list[KnownName] = []

    def node_changed(self, node: int) -> None:
        """Nothing is cached."""

    def entry_changed(self, parent: int, name: str) -> None:
        """Nothing is cached."""

    def unneeded(self, names: Sequence[KnownName]) -> None:
        """Do it later: not within a request."""
        self._unneeded += names

    def found(self, name: str, told: Attributes | None) -> None:
        """Count a lookup."""
        if told is not None:
            self.lookups[told.node] = self.lookups.get(told.node, 0) + 1
            self._nodes[name] = told.node

    def unlink(self, calls: Any, name: str) -> None:
        """Remove a file, and send the FORGET of its node."""
        calls.unlink(ROOT, name)
        node = self._nodes.pop(name, None)
        if node is not None:
            calls.forget(node, self.lookups.pop(node))

    def give_back(self, calls: Any) -> None:
        """Send the FORGETs."""
        for known in self._unneeded:
            count = self.lookups.pop(known.node, 0)
            if count:
                del self._nodes[known.name]
                calls.forget(known.node, count)
        self._unneeded.clear()


def mounted(store: Store, kernel: Kernel, root: Path, *, resumed: bool = False) -> Mounted:
    """Mount it, as a pod's worker does, or go on with the mount of one that is gone."""
    told = MountSettings(store.settings, root / "mountpoint", cache_dir=root / "cache")
    (root / "cache").mkdir(exist_ok=True)
    session = StartMode.RESUMED if resumed else StartMode.FIRST
    return Mounted(told, store, root / "cache", session, kernel)


def listed(calls: Any, kernel: Kernel) -> Iterator[str]:
    """List the root as `ls` does, with READDIRPLUS."""
    handle, offset = calls.opendir(ROOT).handle, 0
    while entries := calls.readdir(handle, offset, ANSWER):
        for entry in entries:
            offset = entry.offset
            if entry.name not in (".", ".."):
                if entry.known:
                    kernel.found(entry.name, calls.adopt(ROOT, entry.name))
                yield entry.name
        kernel.give_back(calls)
    calls.releasedir(handle)


def resident() -> int:
    """Return this process's memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(count: int, looked: int, removed: int, root: Path) -> None:
    """List all, stat some, remove some; print the memory after each in MiB, and what it took."""
    store, kernel = Generated(count, size=1000), Kernel()
    calls = mounted(store, kernel, root).calls
    found: dict[str, float] = {"start": resident() / MIB}
    began = time.monotonic()
    assert sum(1 for _ in listed(calls, kernel)) == count
    found["listed"] = resident() / MIB
    for name in islice(listed(calls, kernel), looked):
        kernel.found(name, calls.lookup(ROOT, name))
    found["looked at"] = resident() / MIB
    for name in islice(listed(calls, kernel), removed):
        kernel.unlink(calls, name)
    found["removed"] = resident() / MIB
    found["nodes"] = len(kernel.lookups)
    found["seconds"] = time.monotonic() - began
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), Path(sys.argv[4]))
