"""Our mounts beside others', on one store behind one link: `python -m bench.compare [options]`.

The store is a SeaweedFS of its own, the link a proxy with 20 ms a round trip and 90 MB/s a
connection, all on this machine: what counts are the ratios of one run, not the seconds. Each
repetition mounts afresh with an empty cache, one file system after the other, so that a noisy
machine disturbs all alike; the median counts. Results go to docs/benchmarks/NAME.json and .svg.

Needs root and /dev/fuse. Others are compared where they are on PATH: mount-s3, geesefs, s3fs,
rclone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from threading import Thread

from bench import chart, content
from bench.content import MIB
from bench.link import LATENCY, RATE, Link
from bench.peers import Peer, Usage, found
from bench.workloads import WORKLOADS, Workload
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from tests.mounts.ours import Directories
from tests.servers.s3 import REGION, Bucket
from tests.servers.seaweed import SeaweedServer

RESULTS = Path(__file__).parents[1] / "docs" / "benchmarks"
STUCK = 300.0  # seconds after which a mount is broken
CONNECTIONS = 8  # of the limit of reads and writes: as many as we use


@dataclass(frozen=True)
class Result:
    """The medians of one file system in one workload; `requests` are one repetition's."""

    peer: str
    value: float | None
    late: bool
    cpu: float
    rss: float
    requests: dict[str, int]
    megabytes: float
    error: str = ""
    all: tuple[float, ...] = ()


@dataclass
class Once:
    """One repetition."""

    value: float
    usage: Usage
    requests: dict[str, int]
    moved: int


def once(workload: Workload, peer: Peer, bucket: Bucket, link: Link) -> Once:
    """Mount, do the work, look at what came of it."""
    with tempfile.TemporaryDirectory(prefix="s3mount-bench-") as root:
        where = Directories(Path(root))
        began = time.perf_counter()
        mount = peer.start(bucket.name, where, link.endpoint)
        try:
            mount.wait_ready(30)
            list(mount.path.iterdir())
            mounted = time.perf_counter() - began
            mount.watch(STUCK)
            if workload.warm is not None:
                workload.warm(mount.path)
                time.sleep(1)  # what it writes behind is on its disk
            link.counted()
            before = Usage.of(mount)
            began = time.perf_counter()
            amount = workload.run(mount.path)
            took = mounted if workload.name == "mount" else time.perf_counter() - began
            after = Usage.of(mount)
            requests, moved = link.counted()
            mount.unwatch()
            if not peer.late:
                workload.verify(bucket)
        finally:
            mount.release()
    value = amount / took if workload.rate else took
    return Once(value, Usage(after.cpu - before.cpu, after.rss), requests, moved)


def summed(peer: Peer, workload: Workload, seen: list[Once], error: str) -> Result:
    """Return what counts of some repetitions."""
    late = peer.late and workload.writes
    if not seen:
        return Result(peer.name, None, late, 0, 0, {}, 0, error)
    middle = sorted(seen, key=lambda each: each.value)[len(seen) // 2]
    return Result(
        peer.name,
        round(middle.value, 4),
        late,
        round(median(each.usage.cpu for each in seen), 2),
        round(max(each.usage.rss for each in seen), 1),
        middle.requests,
        round(middle.moved / 1e6, 1),
        error,
        tuple(round(each.value, 4) for each in seen),
    )


def measure(
    workload: Workload, peers: list[Peer], server: SeaweedServer, times: int
) -> dict[str, object]:
    """Return a row: a result for each file system, and the limit."""
    seen: dict[str, list[Once]] = {peer.name: [] for peer in peers}
    errors: dict[str, str] = {}
    with Link(server.endpoint) as link:
        for _ in range(times):
            for peer in peers:
                bucket = server.endpoint.create_bucket(f"bench-{os.urandom(4).hex()}")
                try:
                    workload.prepare(bucket)
                    seen[peer.name].append(once(workload, peer, bucket, link))
                except Exception as error:  # noqa: BLE001 - whatever a peer does is its result
                    errors[peer.name] = f"{type(error).__name__}: {error}"[-300:]
                finally:
                    bucket.destroy()
        limit = workload.limit or transfer(workload, server, link)
    results = [summed(p, workload, seen[p.name], errors.get(p.name, "")) for p in peers]
    return {
        "name": workload.name,
        "unit": workload.unit,
        "better": "more" if workload.rate else "less",
        "limit": limit,
        "results": [asdict(result) for result in results],
    }


def transfer(workload: Workload, server: SeaweedServer, link: Link) -> float | None:
    """Return how fast bare connections move the bytes of a workload, in MB/s."""
    if workload.name not in ("read-cold", "write"):
        return None
    bucket = server.endpoint.create_bucket(f"bench-{os.urandom(4).hex()}")
    size, part = 512 * MIB, 8 * MIB
    etag = bucket.put("limit", content.whole(size)).strip('"')
    os.environ.update(link.endpoint.credentials.environment())
    store = Store(StoreSettings(bucket.name, link.endpoint.url, REGION))
    upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="up")["UploadId"]
    body, view = bytes(part), [memoryview(bytearray(part)) for _ in range(CONNECTIONS)]

    def move(number: int) -> None:
        for at in range(number, size // part, CONNECTIONS):
            if workload.writes:
                store.uploads.part("up", upload, at + 1, body)
            else:
                store.get_into("limit", etag, at * part, view[number], lambda _: None)

    threads = [Thread(target=move, args=(number,)) for number in range(CONNECTIONS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    store.close()
    bucket.destroy()
    return round(size / took / 1e6, 1)


def line(row: dict[str, object]) -> str:
    """Return a row as text: values, ratios to the best peer and to the limit."""
    said = [f"{row['name']} ({row['unit']}, {row['better']} is better)"]
    for result in chart.ranked(row):
        value = result["value"]
        if value is None:
            said.append(f"  {result['peer']:20} {result['error']}")
            continue
        mark = "*" if result["late"] else " "
        said.append(
            f"  {result['peer']:20}{mark}{value:10.2f}  {chart.ratio(row, result):28}"
            f" {result['cpu']:7.2f} s CPU {result['rss']:7.1f} MiB  {result['requests']}"
        )
    return "\n".join(said)


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser("python -m bench.compare", description=__doc__)
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--only", action="append", choices=names, help="a workload; again for more")
    parser.add_argument("--peers", default="", help="names of file systems, by commas")
    parser.add_argument("--times", type=int, default=3, help="repetitions")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are written")
    told = parser.parse_args()
    peers = list(found([name for name in told.peers.split(",") if name]))
    told.results.mkdir(parents=True, exist_ok=True)
    with SeaweedServer() as server:
        for workload in WORKLOADS:
            if told.only and workload.name not in told.only:
                continue
            row = measure(workload, peers, server, told.times)
            row["machine"] = {
                "cores": os.cpu_count(),
                "kernel": platform.release(),
                "round_trip_ms": LATENCY * 1000,
                "connection_MB_s": RATE / 1e6,
            }
            sys.stdout.write(line(row) + "\n")
            sys.stdout.flush()
            path = told.results / workload.name
            path.with_suffix(".json").write_text(json.dumps(row, indent=1) + "\n")
            path.with_suffix(".svg").write_text(chart.drawn(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
