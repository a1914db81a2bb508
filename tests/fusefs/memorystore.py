"""A bucket in memory with `Store`'s methods and our exceptions, and the files of a mount over it.

For tests of what happens above the store. It counts what it is asked; multipart uploads and
headers that stores refuse are for the tests with real servers.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from fusefs.attributes import Defaults
from fusefs.cache.cache import Cache
from fusefs.changes import Changes
from fusefs.counters import Counters
from fusefs.disk.space import Space
from fusefs.errors import NotFound, Stale
from fusefs.names.lookup import Lookup
from fusefs.names.objectmoves import ObjectMover
from fusefs.names.rename import Renames
from fusefs.names.selfcopy import SelfCopies
from fusefs.names.tree import Tree
from fusefs.objects import Headers, ObjectInfo, Page
from fusefs.posix.openfiles import OpenFiles
from fusefs.read.reader import Reader, ReadLimits
from fusefs.s3.conditions import IF_ABSENT
from fusefs.s3.laterequests import LateRequests
from fusefs.write.contents import FileContents
from fusefs.write.staging import Staging
from fusefs.write.uploader import Uploader
from fusefs.write.uploadplan import PlanSettings

NOW = 1_700_000_000.0


class NoBudget:
    """A retry budget that is used up."""

    def wait(self) -> bool:
        """There is no time left."""
        return False

    def budget(self) -> NoBudget:
        """Give it to whoever asks the client."""
        return self


class MemoryStore:
    """One bucket. `asked` counts requests.

    `before` is called with name and key of each request, `after` once a PUT was carried out: what
    they raise is the answer.
    """

    renames = False
    sorted = True

    def __init__(self) -> None:
        self.bucket = "bucket"
        self.counters = Counters()
        self.changes = Changes()
        self.client = NoBudget()
        self.asked: Counter[str] = Counter()
        self.before: Callable[[str, str], None] = lambda _name, _key: None
        self.after: Callable[[str], None] = lambda _key: None
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        self.late = LateRequests(self.head, self.delete, ending=0.0)
        self._etags = (f"e{number}" for number in itertools.count(1))

    def _ask(self, name: str, key: str) -> None:
        self.asked[name] += 1
        self.before(name, key)

    def others_put(self, key: str, data: bytes, **metadata: str) -> ObjectInfo:
        """Write as another program does: nobody is told, nothing is counted."""
        info = ObjectInfo(key, len(data), next(self._etags), NOW, Headers(metadata))
        self._objects[key] = info, data
        return info

    def age(self, info: ObjectInfo, modified: float) -> None:
        """Give an object another time of its last change."""
        self._objects[info.key] = replace(info, modified=modified), self.content(info.key)

    def content(self, key: str) -> bytes:
        """Return the bytes of an object."""
        return self._objects[key][1]

    def keys(self) -> list[str]:
        """Return all keys in order."""
        return sorted(self._objects)

    def head(self, key: str) -> ObjectInfo:
        """As `Store.head`."""
        self._ask("head", key)
        return self._found(key)

    def begin_head(self, key: str) -> None:
        """As `Store.begin_head` without an idle connection: each HEAD waits for itself."""

    def _found(self, key: str) -> ObjectInfo:
        if key not in self._objects:
            raise NotFound(key)
        return self._objects[key][0]

    def list_page(
        self,
        prefix: str,
        delimiter: str = "/",
        token: str | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page:
        """As `Store.list_page`, on one page."""
        del token
        self._ask("list", prefix)
        objects, prefixes = [], set()
        for key in self.keys():
            if not key.startswith(prefix) or (after is not None and key <= after):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                prefixes.add(prefix + head + delimiter)
            else:
                info = self._objects[key][0]
                objects.append(ObjectInfo(key, info.size, info.etag, info.modified))
        return Page(tuple(objects[:limit]), tuple(sorted(prefixes)[:limit]))

    def get_start(
        self, key: str, count: int, etag: str | None = None, *, whole: bool = False
    ) -> tuple[ObjectInfo, bytes] | None:
        """As `Store.get_start`: None where the version is still `etag`."""
        del whole
        self._ask("get", key)
        info = self._found(key)
        return None if info.etag == etag else (info, self.content(key)[:count])

    def get_into(
        self, key: str, etag: str, offset: int, view: memoryview, arrived: Callable[[int], None]
    ) -> None:
        """As `Store.get_into`."""
        self._ask("get", key)
        if self._found(key).etag != etag:
            raise Stale(f"{key} was replaced")
        view[:] = self.content(key)[offset : offset + len(view)]
        arrived(len(view))

    def put(self, key: str, data: bytes, headers: Headers, condition: str | None) -> str:
        """As `Store.put`, under its condition."""
        with self.changes.under_way(key), self.late.making(key):
            self._ask("put", key)
            there = self._objects[key][0].etag if key in self._objects else None
            if condition is not None and there != (None if condition == IF_ABSENT else condition):
                raise Stale(f"{key}: the condition doesn't hold")
            info = ObjectInfo(key, len(data), next(self._etags), NOW, headers)
            self._objects[key] = info, data
            self.after(key)
            return info.etag

    def copy(
        self,
        source: str,
        etag: str | None,
        key: str,
        headers: Headers | None,
        condition: str | None,
        placed: Any = None,
    ) -> tuple[str, float]:
        """As `Store.copy`."""
        del placed
        self._ask("copy", source)
        info = self._found(source)
        if etag not in (None, info.etag):
            raise Stale(f"{source} was replaced")
        data = self.content(source)
        return self.put(key, data, headers or info.headers or Headers(), condition), NOW

    def delete(self, key: str, etag: str | None = None) -> None:
        """As `Store.delete`."""
        with self.changes.under_way(key):
            self._ask("delete", key)
            if etag not in (None, self._found(key).etag):
                raise Stale(f"{key} was replaced")
            self._objects.pop(key, None)

    def remove(self, key: str, etag: str | None) -> None:
        """As `Store.remove`."""
        try:
            self.delete(key, etag)
        except Stale:
            self.delete(key)
        self.late.removed(key)

    def server_time(self) -> float:
        """The bucket's clock stands still."""
        return NOW


class MemoryMount:
    """What a mount has between the system calls and its bucket; use as a context manager."""

    def __init__(self, root: Path, *, stored: bool = True, overwrites: bool = False) -> None:
        self.store: Any = MemoryStore()
        for name in ("blocks", "staged"):
            (root / name).mkdir()
        space = Space(root, 1 << 28, 0)
        self.asks = self.ahead = self._threads = ThreadPoolExecutor(4)
        self.cache = Cache(root / "blocks", space)
        self.reader = Reader(self.store, self.cache, ReadLimits(memory=32 << 20, parallel=2))
        self.uploader = Uploader(
            self.store,
            self._threads,
            PlanSettings(),
            stores_attributes=stored,
            overwrites=overwrites,
        )
        self.staging = Staging(root, space, self.cache, self.store.counters)
        self.contents = FileContents(self.staging, self.reader, self.uploader)
        self.tree = Tree("", 60.0)
        self.lookup = Lookup(self.tree, self.store, self, Defaults(), stored)
        copies = SelfCopies(self.tree, self.lookup, self.uploader, self.cache)
        mover = ObjectMover(self.store, self.uploader, self._threads)
        self.renames = Renames(
            self.tree,
            self.lookup,
            copies,
            mover,
            self.cache,
            self.staging.dirty,
            root / "renames",
        )
        self.files = OpenFiles(
            self.tree, self.lookup, copies, self.contents, self.cache, 1 << 17, read_only=False
        )

    def __enter__(self) -> MemoryMount:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.reader.close()
        self.cache.close()
        self._threads.shutdown()
