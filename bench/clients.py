"""The clients of `bench.webhook`: 32 connections with TLS and keep-alive, and what they see.

They speak HTTP/1.1 over asyncio streams themselves: a library would be slower than the server.
One event loop on one thread.
"""

import asyncio
import contextlib
import os
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CLIENTS = 32


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


@dataclass(frozen=True)
class Result:
    """Requests per second, latencies and the server's CPU time per request, both in ms."""

    rate: float
    p50: float
    p99: float
    cpu: float


class Connection:
    """One connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> None:
        """Send a request and read its answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"unexpected answer: {head.splitlines()[0].decode()}")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await self._writer.wait_closed()


class Clients:
    """32 clients of one server, which send the same request."""

    def __init__(self, target: Target, request: bytes) -> None:
        self._target = target
        self._request = request
        self._connections: list[Connection] = []

    async def connect(self, trust: ssl.SSLContext) -> Result:
        """Connect all at once; a request's time is from then to its first answer."""
        times = list[float]()

        async def first() -> None:
            began = time.perf_counter()
            streams = await asyncio.open_connection("localhost", self._target.port, ssl=trust)
            connection = Connection(*streams)
            await connection.ask(self._request)
            times.append(time.perf_counter() - began)
            self._connections.append(connection)

        began = self._began()
        await asyncio.gather(*(first() for _ in range(CLIENTS)))
        return self._result(times, began)

    async def saturate(self, count: int) -> Result:
        """Have each client send one request after the other, until `count` are answered."""
        left, times = iter(range(count)), list[float]()

        async def client(connection: Connection) -> None:
            for _ in left:
                sent = time.perf_counter()
                await connection.ask(self._request)
                times.append(time.perf_counter() - sent)

        began = self._began()
        await asyncio.gather(*map(client, self._connections))
        return self._result(times, began)

    async def at_rate(self, rate: float, count: int) -> Result:
        """Send `count` requests at a fixed rate, whatever the answers take.

        A request that finds all connections busy is late, and its time counts from when it was due.
        """
        left, times = iter(range(count)), list[float]()
        began = self._began()

        async def client(connection: Connection) -> None:
            for number in left:
                due = began[0] + number / rate
                if (early := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early)
                    due = time.perf_counter()
                await connection.ask(self._request)
                times.append(time.perf_counter() - due)

        await asyncio.gather(*map(client, self._connections))
        return self._result(times, began)

    async def close(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections))
        self._connections.clear()

    def _began(self) -> tuple[float, float]:
        """Return the time and the server's CPU time."""
        return time.perf_counter(), self._target.cpu()

    def _result(self, times: list[float], began: tuple[float, float]) -> Result:
        spent, cpu = time.perf_counter() - began[0], self._target.cpu() - began[1]
        times.sort()
        p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
        return Result(len(times) / spent, p50, p99, cpu / len(times) * 1000)
