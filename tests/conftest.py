"""Fixtures of all tests: the stores, a bucket for each test, and the proxy in front of it.

Servers live as long as a pytest-xdist worker, buckets and proxies as long as a test.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.mounts import switchedoff
from tests.proxy.proxy import Proxy
from tests.servers.buckets import Buckets, bucket_name
from tests.servers.moto import MotoServer
from tests.servers.rclone import RcloneServer
from tests.servers.s3 import Bucket, Endpoint
from tests.servers.seaweed import SeaweedServer

# A test on a busy machine is slow and right.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Hundreds of programs start from these sources: compiled once, not each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Locks taken against their order are reported here, by this process and those that it starts,
# whatever their user. Set before anything of `fusefs` is imported, which looks at it then.
_ORDER = Path(tempfile.gettempdir(), f"s3mount-lock-order-{os.getpid()}")
_ORDER.touch()
_ORDER.chmod(0o666)
os.environ["S3MOUNT_LOCK_ORDER"] = str(_ORDER)

# Programs under test begin with default signals even where `nohup` or a shell's `&` has us ignore
# these: a handler doesn't outlive an exec, what is ignored does.
for _number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


def pytest_configure() -> None:
    """Refuse a name that is no optimisation, rather than test nothing of what was meant."""
    switchedoff.named()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about optimisations where some are switched off."""
    if not switchedoff.named():
        return
    spared = {item for item in items if item.get_closest_marker("savings")}
    config.hook.pytest_deselected(items=list(spared))
    items[:] = [item for item in items if item not in spared]


def pytest_sessionfinish() -> None:
    """Leave no file behind."""
    _ORDER.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def lock_order() -> Iterator[Path]:
    """Fail a test in which a lock was taken against the order of docs/design.md."""
    before = _ORDER.stat().st_size
    yield _ORDER
    if _ORDER.stat().st_size > before:
        pytest.fail(_ORDER.read_bytes()[before:].decode(), pytrace=False)


@pytest.fixture(scope="session")
def store() -> Iterator[Endpoint]:
    """SeaweedFS: the store of all tests that don't ask for another one."""
    with SeaweedServer() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def lenient_store() -> Iterator[Endpoint]:
    """moto: takes any key, `a//b` and `..` included."""
    with MotoServer() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def degraded_store() -> Iterator[Endpoint]:
    """`rclone serve s3`: ignores preconditions."""
    with RcloneServer() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def buckets(store: Endpoint) -> Iterator[Buckets]:
    """Fresh buckets of the store."""
    with Buckets(store) as buckets:
        yield buckets


@pytest.fixture
def bucket(buckets: Buckets) -> Iterator[Bucket]:
    """An empty bucket."""
    bucket = buckets.take()
    yield bucket
    buckets.give_back(bucket)


@pytest.fixture
def lenient_bucket(lenient_store: Endpoint) -> Iterator[Bucket]:
    """An empty bucket of moto: SeaweedFS keeps no metadata of directory markers, moto does."""
    bucket = lenient_store.create_bucket(bucket_name())
    yield bucket
    bucket.destroy()


@pytest.fixture
def degraded_bucket(degraded_store: Endpoint) -> Bucket:
    """An empty bucket of the store that ignores preconditions; it goes with its server."""
    return degraded_store.create_bucket(bucket_name())


@pytest.fixture
def proxy(store: Endpoint) -> Iterator[Proxy]:
    """A counting, fault-injecting proxy in front of the store."""
    with Proxy(store) as proxy:
        yield proxy
