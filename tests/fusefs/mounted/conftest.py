"""Fixtures of tests on a real mount.

`mount` is a fresh mount of a fresh, empty bucket. `here` is an empty directory in a mount that
many tests share, much cheaper, for whatever needs no setting of its own; `given` is the same for
tests that begin with objects stored by others. `mounts` makes mounts with other settings. All
exist once for each driver.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounts.mount import Mount
from tests.mounts.ours import Directories, OurMount, drivers
from tests.mounts.s3fs import S3fsMount
from tests.mounts.table import OWN_PREFIX, sweep
from tests.proxy.proxy import Proxy
from tests.servers import seaweed
from tests.servers.buckets import bucket_name
from tests.servers.s3 import Bucket, Endpoint

# The part of a test's time after which its mounts are killed, so that it ends by itself.
_PATIENCE = 0.8
_places = itertools.count(1)


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """A directory for mounts, outside of what pytest deletes recursively."""
    sweep()
    path = Path(tempfile.mkdtemp(prefix=f"{OWN_PREFIX}{os.getpid()}-mounts-"))
    yield path
    # Only empty mount points and files are left; a mount still there makes this fail, rightly.
    for root, directories, files in os.walk(path, topdown=False):
        for name in files:
            Path(root, name).unlink()
        for name in directories:
            entry = Path(root, name)
            entry.unlink() if entry.is_symlink() else entry.rmdir()
    path.rmdir()


@pytest.fixture(scope="session")
def room(workshop: Path) -> Callable[[], Directories]:
    """Make directories for another mount."""
    numbers = itertools.count(1)
    return lambda: Directories(workshop / str(next(numbers)))


@pytest.fixture(scope="session", params=drivers())
def driver(request: pytest.FixtureRequest) -> str:
    """The driver under test."""
    return str(request.param)


# Modules that run on the driver of pods alone, for the time they take, unless drivers are named.
# What they check lies below the drivers: requests, faults, space, credentials, whole tools. Single
# tests of other modules say the same with the marker `one_driver`.
NATIVE_ALONE = frozenset(
    f"test_{name}"
    for name in (
        "budgets", "consistency", "content_ttl", "credentials", "faults", "full_disk", "interop",
        "model", "passthrough", "savings", "sharing", "space", "switches", "tools",
    )
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark all tests here, skip them where nothing can be mounted, spare the slow ones."""
    able = os.access("/dev/fuse", os.R_OK | os.W_OK)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mount)
            if not able:
                item.add_marker(pytest.mark.skip(reason="/dev/fuse can't be opened"))
    if os.environ.get("S3MOUNT_TEST_DRIVERS"):
        return
    dropped = [item for item in items if _is_spared(item)]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def _is_spared(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    if call is None or call.params.get("driver") in (None, drivers()[0]):
        return False
    alone = item.get_closest_marker("one_driver") is not None
    return alone or item.path.stem in NATIVE_ALONE


def _seconds(request: pytest.FixtureRequest) -> float:
    marker = request.node.get_closest_marker("timeout")
    limit = marker.args[0] if marker else request.config.getini("timeout")
    return float(limit) * _PATIENCE


Mounts = Callable[..., OurMount]


@pytest.fixture
def mounts(
    room: Callable[[], Directories], driver: str, request: pytest.FixtureRequest
) -> Iterator[Mounts]:
    """Mount a bucket (or a view of one) with options; all end, and are checked, with the test.

    `mounts(bucket, "--read-only")`; `endpoint=` for a proxy; `ready=False` for one that may fail;
    `where=` for directories of an earlier mount; `launcher=` for a program that starts it.
    """
    made: list[OurMount] = []

    def make(
        bucket: Bucket,
        *options: str,
        endpoint: Endpoint | None = None,
        where: Directories | None = None,
        ready: bool = True,
        launcher: Sequence[str] = (),
    ) -> OurMount:
        what = f"{bucket.name}/{bucket.prefix}" if bucket.prefix else bucket.name
        through = endpoint or bucket.endpoint
        mount = OurMount(what, where or room(), through, driver, options, launcher)
        if bucket.endpoint.credentials != seaweed.CREDENTIALS:
            mount.expected.append("ignores conditions")  # the only store here that doesn't
        made.append(mount)
        if ready:
            mount.wait_ready()
            mount.watch(_seconds(request))
        return mount

    yield make
    with ExitStack() as stack:  # every one is released, whatever the others do
        for mount in made:
            stack.callback(_complain, mount)
            stack.callback(mount.release)


def _complain(mount: OurMount) -> None:
    assert mount.complaints() == []


@pytest.fixture
def mount(mounts: Mounts, bucket: Bucket) -> OurMount:
    """A fresh mount of the empty `bucket`, all settings being the defaults."""
    return mounts(bucket)


@dataclass(frozen=True)
class Place:
    """A directory of a mount, and the same as keys."""

    path: Path
    keys: Bucket

    def __truediv__(self, name: str) -> Path:
        return self.path / name


@dataclass(frozen=True)
class Shared:
    """A mount for many tests, its bucket, and the proxy between them if there is one."""

    mount: Mount
    bucket: Bucket
    proxy: Proxy | None = None

    @contextmanager
    def place(self, request: pytest.FixtureRequest, *expected: str) -> Iterator[Place]:
        """Give a directory that the mount has never heard of; `expected` are complaints of it."""
        ours = self.mount if isinstance(self.mount, OurMount) else None
        self.mount.watch(_seconds(request))
        told = len(ours.complaints()) if ours else 0
        name = f"place-{next(_places)}"
        yield Place(self.mount.path / name, self.bucket.under(f"{name}/"))
        self.mount.unwatch()
        new = ours.complaints()[told:] if ours else []
        assert [line for line in new if not any(word in line for word in expected)] == []


Share = Callable[..., AbstractContextManager[Shared]]


@pytest.fixture(scope="session")
def share(store: Endpoint, room: Callable[[], Directories], driver: str) -> Share:
    """Mount for many tests: through this endpoint, which may be a proxy's, with these options."""

    @contextmanager
    def begin(endpoint: Endpoint, proxy: Proxy | None, *options: str) -> Iterator[Shared]:
        bucket, where = store.create_bucket(bucket_name()), room()
        mount: Mount
        if driver == "s3fs":
            mount = S3fsMount(bucket.name, where, endpoint)
        else:
            mount = OurMount(bucket.name, where, endpoint, driver, options)
        try:
            mount.wait_ready()
            yield Shared(mount, bucket, proxy)
        finally:
            mount.release()
            bucket.destroy()
        if isinstance(mount, OurMount):
            assert "space is miscounted" not in mount.said()

    return begin


@pytest.fixture(scope="session")
def shared(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount for many tests."""
    with share(store, None) as shared:
        yield shared


@pytest.fixture(scope="session")
def tapped(store: Endpoint, share: Share) -> Iterator[Shared]:
    """A mount for many tests that count its requests; what its store honours is known."""
    with Proxy(store) as proxy, share(proxy.endpoint, proxy) as shared:
        large = shared.mount.path / "large"
        large.write_bytes(bytes(17 << 20))  # more than is sent at once
        large.unlink()
        yield shared


@pytest.fixture
def given(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A directory of the shared mount that isn't there until the test stores a key below it.

    The mount has never heard of it, so what is stored first is seen at once.
    """
    with shared.place(request) as place:
        yield place


@pytest.fixture
def here(given: Place) -> Place:
    """An empty directory in the shared mount, made through the mount."""
    given.path.mkdir()
    return given


@pytest.fixture
def mount_s3fs(
    room: Callable[[], Directories], request: pytest.FixtureRequest
) -> Iterator[Callable[..., S3fsMount]]:
    """Mount buckets with the real s3fs."""
    with ExitStack() as stack:

        def make(bucket: Bucket, *options: str) -> S3fsMount:
            mount = S3fsMount(bucket.name, room(), bucket.endpoint, options)
            stack.callback(mount.release)
            mount.wait_ready()
            mount.watch(_seconds(request))
            return mount

        yield make
