"""A mount's filesystem without the mount: its calls, on a bucket, from as many threads as wanted.

What the kernel would do (ask for one name once, serialise renames) is not done here, so tests can
have calls meet that seldom do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from fusefs.interface import ROOT, Caller
from fusefs.mount.mount import Mounted, open_mount
from fusefs.mount.settings import MountSettings
from fusefs.s3.settings import StoreSettings
from tests.servers.s3 import REGION, Bucket, Endpoint

CALLER = Caller(1000, 1000)
Result = TypeVar("Result")


class Unmounted:
    """Use as a context manager; `calls` is what a driver asks.

    `mount` are fields of the settings, `store` those of the store.
    """

    def __init__(
        self,
        bucket: Bucket,
        root: Path,
        endpoint: Endpoint,
        mount: Mapping[str, Any] | None = None,
        **store: Any,
    ) -> None:
        keys = root / "keys"
        keys.mkdir(parents=True, exist_ok=True)
        for name, value in endpoint.credentials.environment().items():
            (keys / name).write_text(value)
        told = StoreSettings(bucket.name, endpoint.url, REGION, credentials_dir=keys, **store)
        self.mounted: Mounted = open_mount(
            MountSettings(told, root, cache_dir=root / "cache", **(mount or {}))
        )
        self.calls = self.mounted.calls

    def node(self, path: str) -> int:
        """Look a path up, name by name."""
        node = ROOT
        for name in path.split("/"):
            node = self.calls.lookup(node, name).node
        return node

    def __enter__(self) -> Unmounted:
        return self

    def __exit__(self, *_: object) -> None:
        self.mounted.close()


def begun(call: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Run a call in a thread of its own, which may hang without keeping the test from ending."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments))
        except BaseException as error:  # noqa: BLE001 - the test judges
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
