"""A mount without its kernel side: what it takes over, and what it does about what is broken."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.mount.cacheroot import CacheRoot, Owner
from fusefs.mount.mount import Mounted, open_mount
from fusefs.mount.settings import MountSettings
from fusefs.mount.takeover import AT_LEAST, OTHER_DESCRIPTORS
from fusefs.s3.conditions import IF_ABSENT
from fusefs.s3.settings import StoreSettings
from fusefs.write.flush import AT_ONCE
from fusefs.write.staged import Record, Staged
from tests.fusefs.conftest import Benches
from tests.fusefs.workbench import posix
from tests.proxy.faults import Hold
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION, Bucket


def settings(bucket: Bucket, root: Path, url: str | None = None) -> MountSettings:
    """Return what mounts a bucket with the cache of a workbench, as the next process would."""
    where, keys = url or bucket.endpoint.url, root / "keys"
    store = StoreSettings(bucket.name, where, REGION, credentials_dir=keys, retries=1)
    mount = MountSettings(store, Path("/nowhere"), cache_dir=root, cache_size=64 << 20)
    CacheRoot.of(mount, Owner.of(mount, where), ours=True).claim()
    return mount


@pytest.fixture
def left(benches: Benches) -> Path:
    """The cache of a process that was killed with two unsent files, one of them broken.

    Its journal can be read, but what it says of the object's metadata is nonsense.
    """
    bench = benches("left")
    for key in ("broken", "well"):
        bench.new(key).write(0, key.encode())
    bench.close()
    for journal in bench.staging.directory.glob("*.log"):
        text = journal.read_text()
        if '"broken"' in text:
            journal.write_text(text.replace('"metadata": {}', '"metadata": {"a": [5]}'))
    return bench.staging.directory.parent


@pytest.fixture
def mounted(left: Path, bucket: Bucket) -> Iterator[Mounted]:
    """A mount on that cache."""
    mounted = open_mount(settings(bucket, left))
    yield mounted
    mounted.close()


def test_a_file_that_a_bug_befalls_holds_up_no_other(mounted: Mounted, bucket: Bucket) -> None:
    """The others are uploaded in the background, and again those that come later."""
    deadline = time.monotonic() + 10
    while [file.key for file in mounted.staging.dirty.all()] != ["broken"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "well" in bucket
    assert "broken" in mounted.trouble()


def test_a_bug_with_one_file_ends_no_drain(mounted: Mounted, bucket: Bucket) -> None:
    """All others are in S3 when the grace period is over; the one is told."""
    stop = threading.Event()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    assert not mounted.drain(stop)
    timer.cancel()
    assert bucket.get("well") == b"well"
    assert mounted.dirty()[0] == 1


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """A limit of open files that leaves some for a handful of changed files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (OTHER_DESCRIPTORS + 2 * AT_LEAST, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def leave(benches: Benches, many: int) -> Path:
    """Return the cache of a process that was killed with so many small unsent files."""
    bench = benches("many")
    for number in range(many):
        record = Record(f"d/{number}", IF_ABSENT, None, 0, posix=posix())
        staged = Staged(bench.staging.directory / str(number), record, bench.space)
        staged.write(0, b"%d" % number)
        staged.close()
    bench.close()
    return bench.staging.directory.parent


@pytest.mark.usefixtures("few_descriptors")
def test_more_unsent_files_than_descriptors_are_all_uploaded(
    benches: Benches, bucket: Bucket
) -> None:
    """They are taken over a few at a time, each with its content, and counted from the start."""
    many = 3 * AT_LEAST
    mounted = open_mount(settings(bucket, leave(benches, many)))
    assert mounted.dirty()[0] == many
    assert len(mounted.staging.dirty.all()) == AT_LEAST
    assert mounted.drain(threading.Event())
    mounted.close()
    uploaded = bucket.keys()
    assert {key: bucket.get(key) for key in uploaded} == {
        f"d/{number}": b"%d" % number for number in range(many)
    }


@pytest.mark.usefixtures("few_descriptors")
def test_files_that_wait_for_descriptors_are_told_of_at_the_end(
    benches: Benches, bucket: Bucket
) -> None:
    """A drain that is over before their turn fails, and they are there for the next start."""
    many = 2 * AT_LEAST
    root = leave(benches, many)
    mounted = open_mount(settings(bucket, root))
    ended = threading.Event()
    ended.set()
    assert not mounted.drain(ended)
    mounted.close()
    assert len(bucket.keys()) + len(list((root / "staged").glob("*.log"))) == many


def test_a_drain_has_as_many_files_under_way_as_there_are_threads(
    benches: Benches, bucket: Bucket, proxy: Proxy
) -> None:
    """So the latency of a store counts for one of 32: 10 000 files at 20 ms wait 7 s in all."""
    hold = Hold()
    mounted = open_mount(settings(bucket, leave(benches, 2 * AT_ONCE), proxy.endpoint.url))
    proxy.inject(hold, lambda seen: seen.method == "PUT" and "probe" not in seen.key, times=None)
    drained: list[bool] = []
    drain = threading.Thread(target=lambda: drained.append(mounted.drain(threading.Event())))
    drain.start()
    hold.wait_for(AT_ONCE)
    hold.let_go()
    drain.join(60)
    mounted.close()
    assert drained == [True] and len(bucket.keys()) == 2 * AT_ONCE


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_ten_thousand_small_files_drain_in_a_grace_period_of_a_minute(
    benches: Benches, bucket: Bucket, proxy: Proxy
) -> None:
    """Against a store with 20 ms of latency, which 32 at once hide: a core's time is the limit.

    That is measured, the proxy's share included, for other work on the machine is not of interest;
    the time on the clock is printed.
    """
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = min(10_000, descriptors // 2 - 500)  # a machine may allow fewer: as many, as fast
    root = leave(benches, many)
    proxy.latency = 0.02
    mounted = open_mount(settings(bucket, root, proxy.endpoint.url))
    began, clock = time.process_time(), time.monotonic()
    assert mounted.drain(threading.Event())
    used, passed = time.process_time() - began, time.monotonic() - clock
    mounted.close()
    print(f"{many} files: {passed:.1f} s, {used:.1f} s of a core, this test's proxy included")
    assert used < 60 * many / 10_000
    assert len(bucket.keys()) == many
