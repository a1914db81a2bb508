"""Bodies over a real store without a mount: what a test of writing needs, and its end.

One instance is one process' worth of state; `again()` is the next process on the same disk.
"""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fusefs.attributes import Posix
from fusefs.cache.cache import Cache
from fusefs.disk.audit import miscounted
from fusefs.disk.space import Space
from fusefs.names.objectmoves import ObjectMover
from fusefs.read.reader import Reader, ReadLimits
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from fusefs.write.contents import FileContents
from fusefs.write.filecontent import FileContent
from fusefs.write.staging import Staging
from fusefs.write.uploader import Uploader
from fusefs.write.uploadplan import PlanSettings
from tests.servers.s3 import REGION, Bucket, Endpoint

MIB = 1 << 20
# Parts as small as S3 allows, so that tests of many parts stay small.
SMALL_PARTS = PlanSettings(threshold=5 * MIB, part_size=5 * MIB, copy_size=50 * MIB)


class Workbench:
    """The files of one mount on `bucket`, reached through `endpoint`; use as a context manager."""

    def __init__(
        self,
        bucket: Bucket,
        root: Path,
        endpoint: Endpoint | None = None,
        limit: int = 1 << 30,
        plan: PlanSettings = SMALL_PARTS,
        parallel: int = 4,
        stored: bool = True,
        *,
        overwrites: bool = False,
        full_wait: float = 10.0,
    ) -> None:
        self.bucket = bucket
        self._told = (bucket, root, endpoint, limit, plan, parallel, stored)
        self._more = {"overwrites": overwrites, "full_wait": full_wait}
        self._checked = False
        self.store = _store(root, bucket, endpoint or bucket.endpoint)
        for name in ("blocks", "staged"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.space = Space(root, limit, 0)
        self.cache = Cache(root / "blocks", self.space)
        self.reader = Reader(self.store, self.cache, ReadLimits(memory=32 * MIB, parallel=4))
        self.uploads = ThreadPoolExecutor(parallel)
        self.requests = ThreadPoolExecutor(8)
        self.uploader = Uploader(
            self.store, self.uploads, plan, stores_attributes=stored, overwrites=overwrites
        )
        self.staging = Staging(root, self.space, self.cache, self.store.counters, full_wait)
        self.contents = FileContents(self.staging, self.reader, self.uploader)
        self.mover = ObjectMover(self.store, self.uploader, self.requests)
        self.journals = root / "renames"

    def new(self, key: str, flags: int = 0) -> FileContent:
        """Create a file that isn't in S3 yet."""
        body = self.contents.new(key, None, posix())
        body.create(flags)
        return body

    def open(self, key: str) -> FileContent:
        """Open an object for reading and writing."""
        return self.contents.new(key, self.store.head(key), posix())

    def restored(self) -> list[FileContent]:
        """Take over what a former process left."""
        found = (self.contents.restore(stem) for stem in self.staging.left())
        return [body for body in found if body is not None]

    def again(self) -> Workbench:
        """Return the next process; this one stops as if it had been killed."""
        self.close()
        return Workbench(*self._told, **self._more)

    def close(self) -> None:
        """Stop the threads and let go of the cache; staged files stay as they are."""
        self.uploads.shutdown(cancel_futures=True)
        self.requests.shutdown(cancel_futures=True)
        self.reader.close()
        self._check_space()
        self.cache.close()
        self.store.close()

    def _check_space(self) -> None:
        """See that what is counted is on the disk; once, for others may write there after us."""
        if not self._checked:
            self._checked = True
            self.staging.kept.recount()
            wrong = miscounted(self.space, self.space.root)
            assert not wrong, wrong

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _store(root: Path, bucket: Bucket, endpoint: Endpoint) -> Store:
    keys = root / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    for name, value in endpoint.credentials.environment().items():
        (keys / name).write_text(value)
    settings = StoreSettings(
        bucket.name,
        endpoint_url=endpoint.url,
        region=REGION,
        credentials_dir=keys,
        retry_for=0,
        retries=2,
        connect_timeout=3,
        read_timeout=10,
    )
    return Store(settings)


def posix(mode: int = 0o644) -> Posix:
    """Return attributes as of now."""
    now = time.time_ns()
    return Posix(stat.S_IFREG | mode, 1000, 1000, now, now, now)


def read(body: FileContent, offset: int = 0, size: int | None = None) -> bytes:
    """Read a range, or all."""
    view = bytearray(body.size - offset if size is None else size)
    return bytes(view[: body.read_into(offset, memoryview(view), None)])
