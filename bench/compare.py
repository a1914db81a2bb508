"""Our mounts beside others', on one store behind one link: `python -m bench.compare [options]`.

The store is a SeaweedFS of its own, the link a proxy with 20 ms a round trip and 90 MB/s a
connection, all on this machine: what counts are the ratios of one run, not the seconds. Each
repetition mounts afresh with an empty cache, one file system after the other and another one first
each time, so that a noisy machine disturbs all alike; the median counts. A workload that took long
enough isn't repeated. One that fails is a result, of its row alone. Results go to docs/benchmarks:
NAME.json and NAME.svg, and results.md, where we trail first.

Needs root and /dev/fuse. Others are compared where they are on PATH: mount-s3, geesefs, s3fs,
rclone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from threading import Thread
from typing import NoReturn

from bench import chart, content
from bench.chart import Row
from bench.content import MIB
from bench.link import LATENCY, RATE, Link
from bench.peers import OURS, Peer, Usage, found
from bench.workloads import WORKLOADS, Prepare, Workload
from fusefs.kernel.mountcalls import may_mount
from fusefs.s3.settings import StoreSettings
from fusefs.s3.store import Store
from tests.mounts.ours import Directories
from tests.servers.s3 import REGION, Bucket, Endpoint
from tests.servers.seaweed import SeaweedServer

RESULTS = Path(__file__).parents[1] / "docs" / "benchmarks"
STUCK = 120.0  # seconds after which a mount is broken
LATE = 20.0  # seconds in which what close() left to do must be done
NO_MOUNTS = "nothing can be mounted here: run it as root, where there is /dev/fuse"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CONNECTIONS = 8  # of the limit of reads and writes: as many as we use


@dataclass(frozen=True)
class Repetitions:
    """At most `most`, and no further one after `enough` seconds; `first`: who begins the first."""

    most: int
    enough: float
    first: int = 0


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
    late: bool  # close() returned before the object was there


def once(workload: Workload, peer: Peer, bucket: Bucket, link: Link) -> Once:
    """Mount, do the work, look at what came of it."""
    with tempfile.TemporaryDirectory(prefix="s3mount-bench-") as root:
        where = Directories(Path(root))
        began = time.perf_counter()
        mount = peer.start(bucket.name, where, link.endpoint)
        try:
            mount.wait_ready(30)
            mount.watch(STUCK)
            list(mount.path.iterdir())
            mounted = time.perf_counter() - began
            if workload.warm is not None:
                workload.warm(mount.path)
                time.sleep(1)  # what it writes behind is on its disk
            use_memory(where.root, workload.memory)
            link.counted()
            before = Usage.of(mount)
            began = time.perf_counter()
            amount = workload.run(mount.path)
            took = mounted if workload.name == "mount" else time.perf_counter() - began
            after = Usage.of(mount)
            requests, moved = link.counted()
            workload.check(mount.path)
            mount.unwatch()
            late = peer.late or arrived_late(workload, bucket)
        finally:
            mount.release()
    value = amount / took if workload.rate else took
    return Once(value, Usage(after.cpu - before.cpu, after.rss), requests, moved, late)


def use_memory(directory: Path, size: int) -> None:
    """Have this much of the kernel's free memory used once, and give it back.

    A virtual machine's host may have taken back what was free: the first use of each page is then
    ten times as slow as the copy into it, and whoever comes first pays for it.
    """
    zeros = bytes(MIB)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(size // MIB):
            file.write(zeros)


def arrived_late(workload: Workload, bucket: Bucket) -> bool:
    """Return whether a result wasn't in the store at once; raises what is wrong if it never is."""
    deadline, late = time.monotonic() + LATE, False
    while True:
        try:
            workload.verify(bucket)
        except (KeyError, content.WrongBytes):
            if time.monotonic() > deadline:
                raise
            late = True
            time.sleep(0.5)
        else:
            return late


def summed(peer: Peer, workload: Workload, seen: list[Once], error: str) -> Result:
    """Return what counts of some repetitions."""
    late = workload.writes and (peer.late or any(each.late for each in seen))
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


class Stored:
    """The buckets of the workloads: those that only read share one with the same content."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._shared: dict[Prepare, Bucket] = {}

    @contextmanager
    def bucket(self, workload: Workload) -> Iterator[Bucket]:
        """Give a bucket with what a workload needs."""
        shared = self._shared.get(workload.prepare)
        if shared is not None and not workload.writes:
            yield shared
            return
        bucket = self.endpoint.create_bucket(f"bench-{os.urandom(4).hex()}")
        try:
            workload.prepare(bucket)
            if not workload.writes:
                self._shared[workload.prepare] = bucket
            yield bucket
        finally:
            if bucket not in self._shared.values():
                bucket.destroy()


def turned(peers: list[Peer], first: int) -> list[Peer]:
    """Return the peers in another order: whoever uses memory first pays for its first use."""
    at = first % max(1, len(peers))
    return peers[at:] + peers[:at]


def measure(workload: Workload, peers: list[Peer], stored: Stored, repetitions: Repetitions) -> Row:
    """Return a row: a result for each file system, and the limit."""
    seen: dict[str, list[Once]] = {peer.name: [] for peer in peers}
    errors: dict[str, str] = {}
    began = time.monotonic()
    with Link(stored.endpoint) as link:
        for number in range(repetitions.most):
            for peer in turned(peers, repetitions.first + number):
                try:
                    with stored.bucket(workload) as bucket:
                        seen[peer.name].append(once(workload, peer, bucket, link))
                except Exception as error:  # noqa: BLE001 - whatever a peer does is its result
                    errors[peer.name] = f"{type(error).__name__}: {error}"[-300:]
            if time.monotonic() - began > repetitions.enough:
                break
        limit = workload.limit or limit_of(workload, stored.endpoint, link)
    results = [summed(p, workload, seen[p.name], errors.get(p.name, "")) for p in peers]
    return {
        "name": workload.name,
        "unit": workload.unit,
        "better": "more" if workload.rate else "less",
        "limit": limit,
        "results": [asdict(result) for result in results],
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "round_trip_ms": LATENCY * 1000,
            "connection_MB_s": RATE / 1e6,
        },
    }


def limit_of(workload: Workload, endpoint: Endpoint, link: Link) -> float | None:
    """Return what bare connections reach, where bytes are moved and it can be measured."""
    if not workload.moves:
        return None
    try:
        return transfer(workload, endpoint, link)
    except Exception as error:  # noqa: BLE001 - the row has its other results
        sys.stderr.write(f"{workload.name}: the limit isn't known: {error}\n")
        return None


def transfer(workload: Workload, endpoint: Endpoint, link: Link) -> float:
    """Return how fast bare connections move the bytes of a workload, in MB/s."""
    bucket = endpoint.create_bucket(f"bench-{os.urandom(4).hex()}")
    size, part = 512 * MIB, 8 * MIB
    etag = bucket.put("limit", content.whole(size)).strip('"')  # has the store make room, too
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


def line(row: Row) -> str:
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


def write(row: Row, results: Path) -> None:
    """Write one row's files."""
    path = results / str(row["name"])
    path.with_suffix(".json").write_text(json.dumps(row, indent=1) + "\n")
    path.with_suffix(".svg").write_text(chart.drawn(row))


def settings(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m bench.compare", description=__doc__)
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--only", action="append", choices=names, help="a workload; again for more")
    parser.add_argument("--peers", default="", help="names of file systems, by commas")
    parser.add_argument(
        "--peer", action="append", default=[], help="a file system, commas and all; again for more"
    )
    parser.add_argument("--times", type=_count, default=3, help="repetitions")
    parser.add_argument(
        "--enough", type=_seconds, default=25.0, help="seconds after which none is begun (25)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are written")
    chosen = parser.parse_args(words)
    try:
        chosen.peers = found([*chosen.peer, *(name for name in chosen.peers.split(",") if name)])
        chosen.results.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=chosen.results).close()
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        where = f"--results {chosen.results}: {error.strerror}"
        parser.error(f"{where}; name a directory that can be written")
    return chosen


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if float(text) >= 0:  # NaN isn't
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")


def stoppable(run: Callable[[], int]) -> int:
    """Run it; a signal ends it in good order: what was mounted and started is taken down."""
    caught: list[int] = []

    def stop(number: int, _: object) -> NoReturn:
        caught.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in ENDING}
    try:
        return run()
    except KeyboardInterrupt:
        sys.stderr.write("bench: stopped; rows that were printed are written\n")
        return 128 + (caught or [signal.SIGINT])[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    """Measure, print and write."""
    chosen = settings()
    if not (may_mount() and os.access("/dev/fuse", os.R_OK | os.W_OK)):
        sys.stderr.write(f"bench: {NO_MOUNTS}\n")
        return 2
    return stoppable(lambda: compared(chosen))


def compared(chosen: argparse.Namespace) -> int:
    """Measure what was chosen; return the exit code."""
    rows: list[Row] = []
    with SeaweedServer(volumes=7) as server:
        stored = Stored(server.endpoint)
        for workload in WORKLOADS:
            if chosen.only and workload.name not in chosen.only:
                continue
            taking = [peer for peer in chosen.peers if peer.takes_part(workload)]
            row = measure(
                workload, taking, stored, Repetitions(chosen.times, chosen.enough, len(rows))
            )
            rows.append(row)
            sys.stdout.write(line(row) + "\n")
            sys.stdout.flush()
            write(row, chosen.results)
    table = chart.table(rows)
    sys.stdout.write(table)
    if not chosen.only:
        (chosen.results / "results.md").write_text(table)
    return outcome(rows)


def outcome(rows: list[Row]) -> int:
    """Return the exit code: 1 where ours failed or gave wrong bytes, said on stderr.

    What another can't do, such as a rename, is a result of its row.
    """
    failures = [
        f"bench: {row['name']}, {result['peer']}: {result['error']}\n"
        for row in rows
        for result in row["results"]
        if result["error"] and result["peer"].partition(",")[0] == OURS
    ]
    sys.stderr.write("".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
