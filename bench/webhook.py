"""What a review costs, end to end: `python -m bench.webhook [--reviews N]`.

One replica on one core, 32 clients on another, TLS and keep-alive, a pod of ten containers; and in
the same run an empty FastAPI route served the same way, for the machine's own speed. Prints rates,
percentiles, their ratios and the memory, and ends with 1 when a target is missed.

Three loads, in rounds that alternate between both servers: the first request of 32 new connections,
which waits for all their handshakes (an API server keeps its connections for many reviews, so it is
a row of its own and in no other); as many requests as 32 connections get answered; and the rate of
the target, whatever the answers take.
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
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

import trustme

from bench.clients import Clients, Result, Target

WARM_UP = 1_000
# Taken in turns and the median kept, so that a busy neighbour disturbs both alike.
ROUNDS = 7
PER_ROUND = 1_500
AT_RATE = 500
# The targets, and where they are looked at.
RATE = 500.0
RATIO = 4.0
RSS_MIB = 120.0
# Above this growth between a tenth of the way and its end memory isn't flat.
FLAT_MIB = 4.0


class Round(NamedTuple):
    """The results of the three loads."""

    first: Result
    saturated: Result
    at_rate: Result


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


async def measure(target: Target, trust: ssl.SSLContext, request: bytes) -> Round:
    """One round of requests, on new connections."""
    clients = Clients(target, request)
    first = await clients.connect(trust)
    saturated = await clients.saturate(PER_ROUND)
    steady = await clients.at_rate(RATE, AT_RATE)
    await clients.close()
    return Round(first, saturated, steady)


def median(rounds: list[Round]) -> Round:
    """The median of each number by itself."""
    return Round(
        *(
            Result(*map(statistics.median, zip(*map(astuple, results), strict=True)))
            for results in zip(*rounds, strict=True)
        )
    )


async def saturated(target: Target, trust: ssl.SSLContext, request: bytes, count: int) -> None:
    """Send requests for no numbers' sake."""
    clients = Clients(target, request)
    await clients.connect(trust)
    await clients.saturate(count)
    await clients.close()


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
        asyncio.run(saturated(target, trust, http("/mutate", review()), reviews // 10))
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
                asyncio.run(saturated(server, trust, request, WARM_UP))
            rounds = [
                [asyncio.run(measure(server, trust, request)) for server, request in pairs]
                for _ in range(ROUNDS)
            ]
            memory = soak(target, trust, reviews)
    empty, real = (median(list(column)) for column in zip(*rounds, strict=True))
    return report(empty, real, memory, reviews)


def report(empty: Round, real: Round, memory: list[float], reviews: int) -> bool:
    loads = ("first on a connection", "32 clients", f"{RATE:.0f} requests/s")
    for load, *pair in zip(loads, empty, real, strict=True):
        print(f"{load}:")
        for name, result in zip(("empty route", "review"), pair, strict=True):
            latency = f"p50 {result.p50:6.2f}  p99 {result.p99:6.2f} ms"
            print(f"  {name:<12} {result.rate:6.0f}/s  {latency}  {result.cpu:5.2f} ms CPU each")
    growth = memory[-1] - memory[0]
    checks = [
        (
            f"{real.saturated.rate:.0f} reviews/s",
            f">= {RATE:.0f}",
            real.saturated.rate >= RATE,
        ),
        ratio("p99 of 32 clients", real.saturated, empty.saturated),
        ratio(f"p99 at {RATE:.0f}/s", real.at_rate, empty.at_rate),
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


def ratio(what: str, real: Result, empty: Result) -> tuple[str, str, bool]:
    """Return the check of a review's p99 against the empty route's."""
    found = real.p99 / empty.p99
    return f"{what} is {found:.2f} x the empty route's", f"<= {RATIO:.1f}", found <= RATIO


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.webhook", description=__doc__)
    parser.add_argument("--reviews", type=int, default=100_000, help="for the memory's sake")
    return 0 if run(parser.parse_args().reviews) else 1


if __name__ == "__main__":
    sys.exit(main())
