"""What one interpreter lock costs: `python -m bench.cores [MiB]`.

One mount whose content is cached on disk: 1, 2, 4 and 8 processes read it in requests of 1 MiB,
each its own part, dropped from the kernel's memory before. Then 1, 2, 4 and 8 readers of what isn't
cached, over plain HTTP and over TLS, with no latency between. Prints MB/s, the ratio to one reader,
and the CPU milliseconds of the worker for 1 MiB. Reads of the cache, replies to the kernel, sockets
and decryption don't hold the lock; what does is the rest.

Needs root and /dev/fuse. Not here: other file systems (`compare`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import content
from bench.content import MIB
from bench.peers import Usage
from bench.webhook import issue
from tests.mounts.ours import Directories, OurMount
from tests.servers.s3 import Endpoint
from tests.servers.seaweed import SeaweedServer

READERS = (1, 2, 4, 8)
KEY = "large"
_READ = """
import os, sys
file, buffer = os.open(sys.argv[1], os.O_RDONLY), bytearray(1 << 20)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
print(flush=True)
sys.stdin.readline()
for at in range(int(sys.argv[2]), int(sys.argv[3]), 1 << 20):
    if os.preadv(file, [buffer], at) != 1 << 20:
        sys.exit(f"a short read at {at}")
"""


@contextmanager
def mounted(bucket: str, endpoint: Endpoint, authority: Path) -> Iterator[OurMount]:
    """Mount with an empty cache."""
    with tempfile.TemporaryDirectory(prefix="s3mount-bench-") as root:
        where = Directories(Path(root))
        options = ["--cache-size", "4Gi"]
        launcher = ["env", f"AWS_CA_BUNDLE={authority}"]
        mount = OurMount(bucket, where, endpoint, "native", options, launcher=launcher)
        try:
            mount.wait_ready(30)
            mount.watch(120)
            yield mount
        finally:
            mount.release()


def read(mount: OurMount, size: int, readers: int) -> tuple[float, float]:
    """Read all of the file, each reader its part; return MB/s and CPU ms for 1 MiB."""
    path, part = str(mount.path / KEY), size // readers
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _READ, path, f"{number * part}", f"{(number + 1) * part}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(readers)
    ]
    for child in children:
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        child.stdout.readline()
    before, began = Usage.of(mount).cpu, time.perf_counter()
    for child in children:
        assert child.stdin is not None  # noqa: S101 - likewise
        child.stdin.close()
        child.stdin = None
    for child in children:
        child.communicate(timeout=60)  # `wait` with a timeout looks every 50 ms
    took, cpu = time.perf_counter() - began, Usage.of(mount).cpu - before
    if any(child.returncode for child in children):
        sys.exit("a reader failed")
    return size / took / 1e6, cpu / (size / MIB) * 1e3


def show(name: str, readers: int, rate: float, first: float, cpu: float) -> None:
    """Print one measurement."""
    text = f"{name:<12} {readers} readers {rate:8.0f} MB/s {rate / first:6.2f} x one"
    sys.stdout.write(f"{text} {cpu:6.2f} ms CPU for 1 MiB\n")


def cached(bucket: str, endpoint: Endpoint, authority: Path, size: int) -> None:
    """Measure reads of the disk's cache."""
    with mounted(bucket, endpoint, authority) as mount:
        read(mount, size, 1)
        time.sleep(1)  # what it writes behind is on its disk
        rates: list[float] = []
        for readers in READERS:
            rate, cpu = max(read(mount, size, readers) for _ in range(3))
            rates.append(rate)
            show("cached", readers, rate, rates[0], cpu)


def cold(name: str, bucket: str, endpoint: Endpoint, authority: Path, size: int) -> None:
    """Measure reads of the store."""
    rates: list[float] = []
    for readers in READERS:
        with mounted(bucket, endpoint, authority) as mount:
            rate, cpu = read(mount, size, readers)
        rates.append(rate)
        show(name, readers, rate, rates[0], cpu)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m bench.cores", description=__doc__)
    parser.add_argument("size", nargs="?", type=int, default=256, help="MiB (256)")
    size = parser.parse_args().size * MIB
    with tempfile.TemporaryDirectory() as name:
        issue(Path(name))
        authority, leaf = Path(name) / "ca.crt", (Path(name) / "tls.crt", Path(name) / "tls.key")
        with SeaweedServer(tls=leaf) as server:
            bucket = server.endpoint.create_bucket(f"bench-{os.urandom(4).hex()}")
            bucket.put(KEY, content.whole(size))
            cached(bucket.name, server.endpoint, authority, size)
            cold("plain HTTP", bucket.name, server.endpoint, authority, size)
            cold("TLS", bucket.name, server.encrypted, authority, size)


if __name__ == "__main__":
    main()
