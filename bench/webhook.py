"""What a review costs, end to end: `python -m bench.webhook [--reviews N]`.

One replica on one core, 32 clients on another, TLS and keep-alive, a pod of ten containers; and in
the same run an empty FastAPI route served the same way, for the machine's own speed. Prints rates,
percentiles, their ratio and the memory, and ends with 1 when a target is missed.

The client speaks HTTP/1.1 over asyncio streams itself: a library would be slower than the server.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import trustme

CLIENTS = 32
WARM_UP = 1_000
# Taken in turns and the median kept, so that a busy neighbour disturbs both alike.
ROUNDS = 7
PER_ROUND = 1_500
# The targets, and where they are looked at.
RATE = 500.0
RATIO = 4.0
RSS_MIB = 120.0
# Above this growth between a tenth of the way and its end memory isn't flat.
FLAT_MIB = 4.0


@dataclass(frozen=True)
class Result:
    """One run: requests per second, latencies and the server's CPU time per request in ms."""

    rate: float
    p50: float
    p99: float
    cpu: float = 0.0


@dataclass(frozen=True)
class Target:
    """A server process and where it listens."""

    pid: int
    port: int

    def rss(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(row for row in status.splitlines() if row.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def cpu(self) -> float:
        """CPU time so far in seconds."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def review() -> bytes:
    """A review of a pod as clusters have them: ten containers with probes, env and mounts."""
    containers = [
        {
            "name": f"app-{number}",
            "image": f"registry.example.com/team/app-{number}:1.2.3",
            "command": ["/bin/app"],
            "args": ["--port", str(8000 + number)],
            "env": [{"name": f"SETTING_{n}", "value": f"value {n}"} for n in range(12)],
            "ports": [{"containerPort": 8000 + number, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": 8000 + number, "scheme": "HTTP"}},
            "volumeMounts": [
                {"name": "work", "mountPath": "/work"},
                {"name": "token", "mountPath": "/var/run/secrets/token", "readOnly": True},
            ],
            "terminationMessagePath": "/dev/termination-log",
            "imagePullPolicy": "IfNotPresent",
        }
        for number in range(10)
    ]
    annotations = {"s3.mount/bucket": "my-bucket", "s3.mount/secret": "my-credentials"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-", "namespace": "shop", "annotations": annotations},
        "spec": {"containers": containers, "volumes": [{"name": "work"}, {"name": "token"}]},
    }
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "shop",
        "object": pod,
    }
    envelope = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(envelope).encode()


def http(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def client(
    port: int, trust: ssl.SSLContext, request: bytes, left: Iterator[int], times: list[float]
) -> None:
    """One connection, one request after the other until none is left."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=trust)
    for _ in left:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"unexpected answer: {head.splitlines()[0].decode()}")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        times.append(time.perf_counter() - began)
    writer.close()
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        await writer.wait_closed()


async def load(port: int, trust: ssl.SSLContext, request: bytes, count: int) -> Result:
    left, times = iter(range(count)), list[float]()
    began = time.perf_counter()
    clients = (client(port, trust, request, left, times) for _ in range(CLIENTS))
    await asyncio.gather(*clients)
    spent = time.perf_counter() - began
    times.sort()
    p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
    return Result(len(times) / spent, p50, p99)


def measure(target: Target, trust: ssl.SSLContext, request: bytes, count: int) -> Result:
    """One round of requests."""
    before = target.cpu()
    result = asyncio.run(load(target.port, trust, request, count))
    return replace(result, cpu=(target.cpu() - before) / count * 1000)


def median(results: list[Result]) -> Result:
    """The median of each number by itself."""
    return Result(
        *(statistics.median(column) for column in zip(*map(astuple, results), strict=True))
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def served(command: list[str], port: int, trust: ssl.SSLContext, core: int) -> Iterator[Target]:
    """A server process on one core, from the first answer to its end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        os.sched_setaffinity(process.pid, {core})
        wait_for(f"https://localhost:{port}/healthz", trust)
        yield Target(process.pid, port)
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, trust: ssl.SSLContext) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, context=trust, timeout=5).close()  # noqa: S310 - our own
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > until:
                sys.exit(f"{url} doesn't answer")
            time.sleep(0.1)
        else:
            return


def issue(directory: Path) -> ssl.SSLContext:
    """Certificates for localhost, and a client's trust in them."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    (directory / "tls.key").write_bytes(leaf.private_key_pem.bytes())
    (directory / "tls.crt").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    (directory / "ca.crt").write_bytes(authority.cert_pem.bytes())
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust


def soak(target: Target, trust: ssl.SSLContext, reviews: int) -> list[float]:
    """Memory after each tenth of the reviews."""
    found = []
    for _ in range(10):
        asyncio.run(load(target.port, trust, http("/mutate", review()), reviews // 10))
        found.append(target.rss())
    return found


def run(reviews: int) -> bool:
    """Measure, print, and tell whether every target was met."""
    *others, core = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(others) or {core})
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        trust = issue(directory)
        empty_port, port = free_port(), free_port()
        empty_command = [sys.executable, "-m", "bench.emptyroute", name, str(empty_port)]
        flags = ["--tls-dir", name, "--port", str(port), "--metrics-port", str(free_port())]
        command = [sys.executable, "-m", "webhook", "serve", "--host", "127.0.0.1", *flags]
        with (
            served(empty_command, empty_port, trust, core) as yardstick,
            served(command, port, trust, core) as target,
        ):
            pairs = ((yardstick, http("/empty", b"")), (target, http("/mutate", review())))
            for server, request in pairs:
                measure(server, trust, request, WARM_UP)
            rounds = [
                [measure(server, trust, request, PER_ROUND) for server, request in pairs]
                for _ in range(ROUNDS)
            ]
            memory = soak(target, trust, reviews)
    empty, real = (median(list(column)) for column in zip(*rounds, strict=True))
    return report(empty, real, memory, reviews)


def report(empty: Result, real: Result, memory: list[float], reviews: int) -> bool:
    for name, result in (("empty route", empty), ("review", real)):
        latency = f"p50 {result.p50:6.1f}  p99 {result.p99:6.1f} ms"
        print(f"{name:<12} {result.rate:7.0f}/s  {latency}  {result.cpu:5.2f} ms CPU each")
    ratio, growth = real.p99 / empty.p99, memory[-1] - memory[0]
    checks = [
        (f"{real.rate:.0f} reviews/s", f">= {RATE:.0f}", real.rate >= RATE),
        (f"p99 is {ratio:.2f} x the empty route's", f"<= {RATIO:.1f}", ratio <= RATIO),
        (
            f"RSS {max(memory):.1f} MiB in {reviews} reviews",
            f"<= {RSS_MIB:.0f}",
            max(memory) <= RSS_MIB,
        ),
        (f"RSS grew by {growth:.1f} MiB", f"<= {FLAT_MIB:.1f}", growth <= FLAT_MIB),
    ]
    for found, target, met in checks:
        print(f"{'met   ' if met else 'MISSED'} {found} (target {target})")
    return all(met for _, _, met in checks)


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.webhook", description=__doc__)
    parser.add_argument("--reviews", type=int, default=100_000, help="for the memory's sake")
    return 0 if run(parser.parse_args().reviews) else 1


if __name__ == "__main__":
    sys.exit(main())
