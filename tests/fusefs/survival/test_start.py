"""What a pod's processes load, and what they ask of the store, until they serve and after that.

Modules and requests are counted, which is exact; how long a start takes is in `bench.start`.
"""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep

import pytest

from tests.fusefs.survival.s3pod import S3Pod
from tests.mounts.log import parse
from tests.proxy.exchange import Exchange, Requests
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket

# Each costs a start more than 20 ms of one core or some MiB, and an ordinary worker nothing else.
HEAVY = {"boto3", "botocore", "urllib3", "prometheus_client", "wsgiref", "http.server"}
FOREIGN = {"kubernetes", "fastapi", "pydantic", "structlog", "yaml", "cryptography", "asyncio"}
MIB = 1 << 20

Start = Callable[..., S3Pod]


@pytest.fixture
def start(base: Path, bucket: Bucket, proxy: Proxy) -> Iterator[Start]:
    """Start a pod with one mount through the proxy; each of its processes tells what it imports."""
    made: list[S3Pod] = []

    def build(*words: str, keys: bool = True, **told: object) -> S3Pod:
        credentials = proxy.endpoint.credentials.environment()
        directory = base / "keys"
        directory.mkdir()
        for name, value in credentials.items():
            (directory / name).write_text(value)
        if keys:
            told["credentialsDir"] = str(directory)
        pod = _Told(base, bucket, endpoint=proxy.endpoint, supervise=True, **told)
        pod.words = words
        made.append(pod)
        if keys:
            for name in credentials:
                del pod.environment[name]
        pod.environment["PYTHONPROFILEIMPORTTIME"] = "1"
        proxy.settle()
        pod.start()
        return pod

    yield build
    for pod in made:
        pod.clean_up()


class _Told(S3Pod):
    words: tuple[str, ...] = ()

    def worker_command(self) -> list[str]:
        return [*super().worker_command(), *self.words]


def imported(pod: S3Pod) -> set[str]:
    """Return all packages and modules that processes of the pod have imported so far."""
    lines = pod.log.read_text().splitlines()
    names = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    return names | {name.partition(".")[0] for name in names}


def probing(seen: Requests) -> list[Exchange]:
    """Return the requests of keys that nobody has."""
    return [exchange for exchange in seen if ".s3mount-probe-" in exchange.key]


def kill_the_worker(pod: S3Pod) -> None:
    """Kill -9 the worker proper, and wait for the next."""
    assert pod.worker is not None
    pid = pod.worker.pid
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    os.kill(child, signal.SIGKILL)
    pod.wait_for_log('"serving"', 2)
    pod.wait_until_well()


@pytest.mark.savings
@pytest.mark.parametrize("keys", [True, False], ids=["secret", "environment"])
def test_an_ordinary_worker_needs_no_sdk(start: Start, bucket: Bucket, keys: bool) -> None:
    """With static keys it serves reads and writes, of large files too, without boto3."""
    bucket.put("f", b"content")
    pod = start("--metrics-port", "0", keys=keys)
    assert (pod.root / "f").read_bytes() == b"content"
    (pod.root / "g").write_bytes(b"new")
    (pod.root / "g").write_bytes(b"newer")
    (pod.root / "f").rename(pod.root / "h")
    (pod.root / "large").write_bytes(bytes(17 * MIB))
    assert {entry.name for entry in pod.root.iterdir()} == {"g", "h", "large"}
    assert "fusefs.mount.mount" in imported(pod)
    assert imported(pod) & (HEAVY | FOREIGN) == set()
    assert pod.stop() == (0, 0)
    assert bucket.get("g") == b"newer"
    assert bucket.get("large") == bytes(17 * MIB)


@pytest.mark.savings
def test_who_asks_for_metrics_pays_for_them(start: Start) -> None:
    """The port answers; what renders metrics is imported by the first question."""
    pod = start("--metrics-port", "0")
    port = next(line.fields["port"] for line in parse(pod.log.read_text()) if "port" in line.fields)
    assert imported(pod) & HEAVY == set()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert b"s3mount_well" in answer.read()
    assert "prometheus_client" in imported(pod)


def test_a_mount_is_ready_after_one_request(start: Start, proxy: Proxy) -> None:
    """The bucket is listed, for one key; what can wait does."""
    with proxy.counting() as seen:
        start()
        proxy.settle()
    assert seen.operations == {"ListObjectsV2": 1}


def test_the_first_writes_ask_what_the_store_honours(start: Start, proxy: Proxy) -> None:
    """Once, and of uploads in parts before the first is completed; the next worker knows."""
    pod = start()
    with proxy.counting() as seen:
        (pod.root / "a").write_bytes(b"1")
        proxy.settle()
    assert len(probing(seen)) == 1
    with proxy.counting() as seen:
        (pod.root / "a").write_bytes(b"2")
        (pod.root / "large").write_bytes(bytes(17 * MIB))
        proxy.settle()
    assert len(probing(seen)) == 4
    with proxy.counting() as seen:
        kill_the_worker(pod)
        (pod.root / "b").write_bytes(b"1")
        (pod.root / "larger").write_bytes(bytes(18 * MIB))
        proxy.settle()
    assert len(probing(seen)) == 0


def test_a_mount_for_reading_asks_nothing(start: Start, bucket: Bucket, proxy: Proxy) -> None:
    """It has no use for the answer."""
    bucket.put("f", b"content")
    with proxy.counting() as seen:
        pod = start(readOnly=True)
        assert (pod.root / "f").read_bytes() == b"content"
        proxy.settle()
    assert len(probing(seen)) == 0
    assert {exchange.method for exchange in seen} <= {"GET", "HEAD"}


def test_who_looks_after_volumes_costs_no_request(
    start: Start, bucket: Bucket, proxy: Proxy
) -> None:
    """Root and volume are told from what is known, however old that is; `ls` asks the store."""
    bucket.put("f", b"content")
    pod = start(attrTtl="1ms")
    with proxy.counting() as seen:
        for _ in range(50):
            assert pod.root.stat().st_mode & 0o777
            assert os.statvfs(pod.root).f_namemax
            assert os.access(pod.root, os.R_OK)
            os.close(os.open(pod.root, os.O_RDONLY | os.O_DIRECTORY))
            sleep(0.002)
        proxy.settle()
    assert len(seen) <= 1, "the marker of the root's attributes, once"
    bucket.put("g", b"of others")
    assert os.listdir(pod.root) == ["f", "g"]
