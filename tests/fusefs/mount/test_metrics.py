"""What an operator can see of a mount, and the port it is seen on."""

import contextlib
import os
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs.errors import FsError, SetupError, Stale
from fusefs.interface import ROOT, Caller
from fusefs.mount.metrics import Metrics
from fusefs.mount.metricsport import MetricsPort
from fusefs.mount.mount import Mounted, open_mount
from fusefs.mount.settings import MountSettings
from fusefs.s3.settings import StoreSettings
from tests.mounts.log import parse
from tests.mounts.ours import Directories, OurMount
from tests.proxy.exchange import on
from tests.proxy.faults import Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import REGION, Bucket, Endpoint
from tests.waiting import until
from webhook.events.findings import COUNTED
from webhook.events.mountvalues import read_values

CALLER = Caller(0, 0)

Open = Callable[..., tuple[Mounted, "Seen"]]


class Seen:
    """The metrics of a mount as a scraper reads them."""

    def __init__(self, mounted: Mounted) -> None:
        self.mounts = {"m": mounted}
        self.metrics = Metrics(lambda: self.mounts)

    def lines(self) -> dict[str, float]:
        text = self.metrics.rendered().splitlines()
        pairs = (line.rsplit(" ", 1) for line in text if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def __call__(self, name: str, **labels: str) -> float:
        labels["mount"] = "m"
        told = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
        return self.lines().get(f"s3mount_{name}{{{told}}}", 0.0)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open a bucket's filesystem without mounting it."""
    made: list[Mounted] = []

    def build(bucket: Bucket, endpoint: Endpoint, **mount: int) -> tuple[Mounted, Seen]:
        keys = tmp_path / "keys"
        keys.mkdir(exist_ok=True)
        for name, value in endpoint.credentials.environment().items():
            (keys / name).write_text(value)
        store = StoreSettings(
            bucket.name, endpoint.url, REGION, credentials_dir=keys, retries=1, retry_for=0.5
        )
        cache = tmp_path / f"cache{len(made)}"
        made.append(open_mount(MountSettings(store, tmp_path, cache_dir=cache, **mount)))
        return made[-1], Seen(made[-1])

    yield build
    for mounted in made:
        mounted.close()


def create(mounted: Mounted, name: str, content: bytes) -> int:
    """Write a file that isn't committed yet; return its handle."""
    calls = mounted.calls
    _, opened = calls.create(ROOT, name, 0o644, os.O_WRONLY | os.O_CREAT, CALLER)
    calls.write(opened.handle, 0, content)
    return opened.handle


def fetched(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def read(mounted: Mounted, name: str, size: int) -> None:
    calls = mounted.calls
    handle = calls.open(calls.lookup(ROOT, name).node, os.O_RDONLY).handle
    assert calls.read_into(handle, 0, memoryview(bytearray(size))) == size
    calls.release(handle)


def test_requests_are_counted_by_operation_and_outcome(bucket: Bucket, opened: Open) -> None:
    """Outcomes are `ok` and the names of errors, never keys."""
    mounted, seen = opened(bucket, bucket.endpoint)
    before = seen("store_requests_total", operation="head_object", outcome="NotFound")
    with pytest.raises(FsError):
        mounted.calls.lookup(ROOT, "absent")
    after = seen("store_requests_total", operation="head_object", outcome="NotFound")
    assert after == before + 1
    assert seen("store_requests_total", operation="list_objects_v2", outcome="ok") >= 1
    assert not any("absent" in line for line in seen.lines())


def test_bytes_are_counted_both_ways(bucket: Bucket, opened: Open) -> None:
    """What a close uploads and a read downloads, to the byte."""
    bucket.put("theirs", b"x" * 300_000)
    mounted, seen = opened(bucket, bucket.endpoint)
    handle = create(mounted, "ours", b"y" * 123_456)
    sent = seen("store_sent_bytes_total")
    mounted.calls.flush(handle)
    assert seen("store_sent_bytes_total") - sent == 123_456
    read(mounted, "theirs", 300_000)
    assert seen("store_received_bytes_total") == 300_000
    mounted.calls.release(handle)


def test_reads_are_hits_or_misses(bucket: Bucket, opened: Open) -> None:
    """The first read comes from the store, in part perhaps by way of the disk; later ones don't."""
    bucket.put("file", b"x" * 500_000)
    mounted, seen = opened(bucket, bucket.endpoint)
    read(mounted, "file", 500_000)
    hits, misses = seen("cache_hit_bytes_total"), seen("cache_miss_bytes_total")
    assert hits + misses == 500_000
    # A reader has its bytes a moment before the disk has them.
    until(lambda: seen("cache_bytes") >= 500_000)
    read(mounted, "file", 500_000)
    assert seen("cache_hit_bytes_total") == hits + 500_000
    assert seen("cache_miss_bytes_total") == misses


def test_reads_without_a_cache_are_misses(bucket: Bucket, opened: Open) -> None:
    """Nothing is on the disk, however often it is read."""
    bucket.put("file", b"x" * 500_000)
    mounted, seen = opened(bucket, bucket.endpoint, cache_size=0)
    for times in (1, 2):
        read(mounted, "file", 500_000)
        assert seen("cache_miss_bytes_total") == times * 500_000
    assert seen("cache_hit_bytes_total") == 0


def test_what_is_not_in_the_store_yet_is_seen(bucket: Bucket, opened: Open) -> None:
    """Dirty files and bytes, and open handles, go up and come back to 0."""
    mounted, seen = opened(bucket, bucket.endpoint)
    handle = create(mounted, "file", b"x" * 1000)
    assert (seen("dirty_files"), seen("dirty_bytes"), seen("open_handles")) == (1, 1000, 1)
    mounted.calls.flush(handle)
    mounted.calls.release(handle)
    assert (seen("dirty_files"), seen("dirty_bytes"), seen("open_handles")) == (0, 0, 0)


def test_a_failed_upload_is_counted_and_makes_the_mount_unwell(
    bucket: Bucket, opened: Open, proxy: Proxy
) -> None:
    """Until the retry in the background succeeds."""
    mounted, seen = opened(bucket, proxy.endpoint)
    handle = create(mounted, "file", b"x")
    fault = proxy.inject(Status(500), on("PutObject", "file"), times=None)
    with pytest.raises(FsError):
        mounted.calls.flush(handle)
    assert (seen("upload_failures_total") >= 1, seen("well"), seen("dirty_files")) == (True, 0, 1)
    assert seen("store_requests_total", operation="put_object", outcome="Unavailable") >= 1
    fault.stop()
    mounted.calls.fsync(handle)
    assert (seen("well"), seen("dirty_files")) == (1, 0)
    mounted.calls.release(handle)


def test_a_conflict_is_counted(bucket: Bucket, opened: Open) -> None:
    """One for each file kept in conflicts/."""
    mounted, seen = opened(bucket, bucket.endpoint)
    handle = create(mounted, "file", b"ours")
    bucket.put("file", b"theirs")
    with pytest.raises(Stale):
        mounted.calls.flush(handle)
    assert seen("conflicts_total") == 1
    assert len(list(mounted.staging.conflicts.glob("*.data"))) == 1
    with pytest.raises(Stale):
        mounted.calls.flush(handle)
    mounted.calls.release(handle)


def test_the_age_of_the_oldest_change_is_seen(bucket: Bucket, opened: Open) -> None:
    """It grows from the first change that isn't in the store until the upload, not with others."""
    mounted, seen = opened(bucket, bucket.endpoint)
    assert seen("dirty_oldest_seconds") == 0
    handle = create(mounted, "file", b"x")
    first = seen("dirty_oldest_seconds")
    mounted.calls.write(handle, 1, b"y")
    assert seen("dirty_oldest_seconds") > first > 0
    mounted.calls.flush(handle)
    assert seen("dirty_oldest_seconds") == 0
    mounted.calls.release(handle)


def test_requests_are_timed_to_the_first_byte_and_to_the_last(bucket: Bucket, opened: Open) -> None:
    """By S3 operation, in buckets that add up; a GET's last byte comes after its first."""
    bucket.put("theirs", b"x" * 300_000)
    mounted, seen = opened(bucket, bucket.endpoint)
    read(mounted, "theirs", 300_000)
    gets = {"operation": "get_object"}
    count = seen("store_request_seconds_count", **gets)
    assert count == seen("store_first_byte_seconds_count", **gets) >= 1
    assert count == seen("store_request_seconds_bucket", **gets, le="+Inf")
    assert seen("store_request_seconds_sum", **gets) >= seen("store_first_byte_seconds_sum", **gets)
    assert seen("store_request_seconds_count", operation="list_objects_v2") >= 1


def test_new_credentials_are_counted(bucket: Bucket, opened: Open, tmp_path: Path) -> None:
    """When the first request is signed with another access key; the first key is no refresh."""
    mounted, seen = opened(bucket, bucket.endpoint)
    with contextlib.suppress(FsError):
        mounted.calls.lookup(ROOT, "absent")
    assert seen("credential_refreshes_total") == 0
    (tmp_path / "keys/AWS_ACCESS_KEY_ID").write_text("AKIAANOTHERONE000000")
    mounted.store.client._directory.current(fresh=True)  # type: ignore[union-attr]
    with contextlib.suppress(FsError):
        mounted.calls.lookup(ROOT, "absent2")
    assert seen("credential_refreshes_total") == 1


def test_the_port_serves_them(bucket: Bucket, opened: Open) -> None:
    """Plain HTTP, in the text format of Prometheus."""
    _, seen = opened(bucket, bucket.endpoint)
    with MetricsPort(lambda: seen.mounts, 0, "127.0.0.1") as port:
        text = fetched(port.port)
    assert 's3mount_well{mount="m"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_events_are_made_of_them(bucket: Bucket, opened: Open) -> None:
    """The process that writes events reads what a worker serves, over the same port."""
    _, seen = opened(bucket, bucket.endpoint)
    with MetricsPort(lambda: seen.mounts, 0, "127.0.0.1") as port:
        found = read_values("127.0.0.1", port.port)
    assert found.mounts == {"m": dict.fromkeys(COUNTED, 0.0)}
    assert 0 < found.began <= time.time()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_both_families_are_served() -> None:
    """By default IPv4 and IPv6, also where the host's `bindv6only` says otherwise."""
    with MetricsPort(dict, 0) as port:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port.port), 5).close()


def test_a_port_that_is_taken_is_told() -> None:
    """By the option's name and the reason."""
    with (
        MetricsPort(dict, 0, "127.0.0.1") as port,
        pytest.raises(SetupError, match=f"--metrics-port {port.port}: Address already in use"),
    ):
        MetricsPort(dict, port.port, "127.0.0.1")


def test_silent_readers_wear_out_nothing() -> None:
    """Who connects and asks nothing gets few of the threads and descriptors that serve files."""
    with MetricsPort(dict, 0) as port, contextlib.ExitStack() as stack:
        before = threading.active_count()
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", port.port), 5))
        assert "process_resident_memory_bytes" in fetched(port.port)
        assert threading.active_count() - before < 30


def ports(mount: OurMount) -> list[int]:
    """Return the ports the log tells of."""
    return [line.fields["port"] for line in parse(mount.said()) if "port" in line.fields]


@pytest.mark.mount
@pytest.mark.parametrize("driver", ["fusepy", "native"])
def test_a_mount_serves_its_metrics(bucket: Bucket, tmp_path: Path, driver: str) -> None:
    """`--metrics-port` with either driver; file operations are timed by name and errno."""
    where = Directories(tmp_path)
    mount = OurMount(bucket.name, where, bucket.endpoint, driver, ["--metrics-port", "0"])
    try:
        well = 's3mount_well{mount="default"} 1.0'
        mount.child.wait_until(lambda: any(well in fetched(port) for port in ports(mount)), 30)
        mount.wait_ready()
        subprocess.run(
            ["stat", mount.path / "absent"], check=False, capture_output=True, timeout=20
        )
        timed = re.compile(
            r's3mount_operation_seconds_count{.*errno="ENOENT",mount="default".*} [1-9]'
        )
        mount.child.wait_until(
            lambda: any(timed.search(fetched(port)) for port in ports(mount)), 30
        )
        assert mount.stop() == 0
    finally:
        mount.release()
