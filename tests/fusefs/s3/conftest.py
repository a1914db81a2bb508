"""Filesystems over quirky stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusefs.mount.mount import Mounted, open_mount
from fusefs.mount.settings import MountSettings
from fusefs.s3.settings import StoreSettings
from fusefs.write.uploadplan import PlanSettings
from tests.fusefs.paths import Paths
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION
from tests.stores.quirks import Quirk
from tests.stores.server import QuirkyStore

MIB = 1 << 20
# As small as stores allow, so that a file of many parts is a small one.
SMALL = PlanSettings(threshold=5 * MIB, part_size=5 * MIB, copy_size=50 * MIB)


@dataclass
class Quirky:
    """A filesystem, the proxy it goes through, and the store behind that."""

    store: QuirkyStore
    proxy: Proxy
    mounted: Mounted
    files: Paths


Open = Callable[..., Quirky]


@pytest.fixture
def quirky(tmp_path: Path) -> Iterator[Open]:
    """Open filesystems, each over a fresh store with these quirks."""
    with ExitStack() as stack:

        def build(*quirks: Quirk, direct: bool = True, retry_for: float = 5.0) -> Quirky:
            store = stack.enter_context(QuirkyStore(quirks))
            proxy = stack.enter_context(Proxy(store.endpoint))
            root = tmp_path / store.endpoint.url.rpartition(":")[2]
            settings = _settings(store, proxy, root, direct, retry_for)
            mounted = open_mount(settings)
            stack.callback(mounted.close)
            return Quirky(store, proxy, mounted, Paths(mounted))

        yield build


def _settings(
    store: QuirkyStore, proxy: Proxy, root: Path, direct: bool, retry_for: float
) -> MountSettings:
    keys = root / "keys"
    keys.mkdir(parents=True)
    for name, value in proxy.endpoint.credentials.environment().items():
        (keys / name).write_text(value)
    where = StoreSettings(
        store.name,
        proxy.endpoint.url,
        REGION,
        credentials_dir=keys,
        retries=2,
        retry_for=retry_for,
        direct=direct,
    )
    return MountSettings(where, root / "mnt", cache_dir=root / "cache", plan=SMALL)
