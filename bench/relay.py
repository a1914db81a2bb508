"""A proxy that costs little: one thread, forwarding bytes between file systems and a store.

The tests' proxy has a thread for each connection and reads all it forwards, which on two cores is
work that a benchmark of small requests would measure. This one reads the heads that it needs to
count, and waits as that one does, so that figures of both can be compared: a request is kept back
until its latency, from the moment its head was there, is over, and only then goes to the store;
each body, either way, moves no faster than the rate, its first block at once.

Not here: faults. One thread: each connection is a generator that waits for one thing at a time.
"""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from heapq import heappop, heappush
from struct import pack
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

from bench.framing import BODYLESS, END, Body, name_of, value, without
from tests.servers.s3 import Endpoint

BLOCK = 256 << 10  # bytes of a body that are moved at once
HEAD = 64 << 10  # bytes received at once where a head is expected
EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
CLOSED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
RESET = pack("ii", 1, 0)  # SO_LINGER for no time


class Hung(ConnectionError):
    """The other side closed where more had to come."""


class Side:
    """A connection to a client or to the store; edges of epoll say what it is ready for."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.held = b""  # received, not forwarded yet
        self.readable = False
        self.writable = True
        self.closed = False  # by the other side; there may be bytes left to read

    def note(self, events: int) -> None:
        """Note what epoll says."""
        self.closed = self.closed or bool(events & CLOSED)
        self.readable = self.readable or bool(events & (select.EPOLLIN | CLOSED))
        self.writable = self.writable or bool(events & (select.EPOLLOUT | CLOSED))

    def received(self, count: int, asked: int) -> None:
        """Note how much came: less than asked for was all, but for the end of the connection."""
        self.readable = self.closed or count == asked


# What a generator waits for: a moment, or what a side becomes ready for.
Wait = float | Side
Flow = Generator[Wait, None, None]


class Commands(Protocol):
    """Where questions come from: a pipe."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""

    def recv(self) -> object:
        """Return a question; None for the last."""

    def send(self, obj: object) -> None:
        """Answer."""


class Relay:
    """The way to one store; `latency` in seconds, `rate` in bytes per second or None."""

    def __init__(self, store: Endpoint, latency: float, rate: float | None) -> None:
        target = urlsplit(store.url)
        self.address = (target.hostname, target.port)
        self.latency = latency
        self.rate = rate
        self.operations: Counter[str] = Counter()
        self.moved = 0  # bytes of bodies
        self.buffer = memoryview(bytearray(BLOCK))
        self._epoll = select.epoll()
        self._flows: dict[int, tuple[Side, Flow]] = {}
        self._waits: dict[Flow, Wait] = {}
        self._timers: list[tuple[float, int, Flow]] = []
        self._turn = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self._epoll.register(self._listener, select.EPOLLIN)
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.endpoint = Endpoint(url, store.credentials)

    def counted(self) -> tuple[dict[str, int], int]:
        """Return the requests since the last call, by operation, and the bytes of all bodies."""
        found = dict(self.operations), self.moved
        self.operations.clear()
        self.moved = 0
        return found

    def serve(self, commands: Commands) -> None:
        """Forward, and answer each command by what was counted, until there are no more."""
        self._epoll.register(commands.fileno(), select.EPOLLIN)
        while True:
            for number, events in self._events():
                if number == commands.fileno():
                    if commands.recv() is None:
                        return
                    commands.send(self.counted())
                elif number == self._listener.fileno():
                    self._accept()
                else:
                    self._ready(number, events)
            now = monotonic()
            while self._timers and self._timers[0][0] <= now:
                self._go_on(heappop(self._timers)[2])

    def _events(self) -> list[tuple[int, int]]:
        """Wait for events, or for the next moment that somebody waits for."""
        if not self._timers:
            return self._epoll.poll()
        left = self._timers[0][0] - monotonic()
        if left > 0:  # epoll's own limit is whole milliseconds
            select.select([self._epoll], [], [], left)
        return self._epoll.poll(0)

    def _accept(self) -> None:
        with suppress(OSError):
            accepted, _ = self._listener.accept()
            client = Side(accepted)
            flow = Connection(self, client).flow()
            self.watch(client, flow)
            self._go_on(flow)

    def watch(self, side: Side, flow: Flow) -> None:
        """Have a flow go on when a side becomes ready for what it waits for."""
        self._flows[side.socket.fileno()] = side, flow
        self._epoll.register(side.socket, EVENTS)

    def unwatch(self, side: Side) -> None:
        """Close a side."""
        del self._flows[side.socket.fileno()]
        side.socket.close()

    def flow_of(self, side: Side) -> Flow:
        """Return the flow of a side."""
        return self._flows[side.socket.fileno()][1]

    def _ready(self, number: int, events: int) -> None:
        found = self._flows.get(number)
        if found is not None:
            side, flow = found
            side.note(events)
            if self._waits.get(flow) is side:
                self._go_on(flow)

    def _go_on(self, flow: Flow) -> None:
        self._waits.pop(flow, None)
        wait = next(flow, None)
        if isinstance(wait, float):
            self._turn += 1
            heappush(self._timers, (wait, self._turn, flow))
        elif wait is not None:
            self._waits[flow] = wait


class Connection:
    """A client's connection and the one to the store that serves it."""

    def __init__(self, relay: Relay, client: Side) -> None:
        self._relay = relay
        self._client = client
        self._store: Side | None = None

    def flow(self) -> Flow:
        """Serve requests until either side closes."""
        try:
            while (head := (yield from self._head(self._client))) is not None:
                if not (yield from self._exchange(head)):
                    break
        except (OSError, ValueError):
            self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        finally:
            if self._store is not None:
                self._relay.unwatch(self._store)
            self._relay.unwatch(self._client)

    def _exchange(self, head: bytes) -> Generator[Wait, None, bool]:
        """Serve one request; return whether the connection can carry another."""
        relay, client = self._relay, self._client
        until = monotonic() + relay.latency
        lower = head.lower()
        relay.operations[name_of(head, lower)] += 1
        if relay.latency:
            yield until
        store = self._connected()
        if value(lower, b"expect") is not None:
            yield from _send(store, memoryview(without(head, b"expect")))
            yield from _send(client, memoryview(b"HTTP/1.1 100 Continue\r\n\r\n"))
        else:
            yield from _send(store, memoryview(head))
        body = Body(lower)
        if not body.over:
            yield from self._move(client, store, body, refused=True)
        return (yield from self._answer(head, store))

    def _answer(self, asked: bytes, store: Side) -> Generator[Wait, None, bool]:
        head = None
        while head is None or head[9:12] == b"100":  # the client has long continued
            head = yield from self._head(store)
            if head is None:
                raise Hung("the store closed without an answer")
        lower = head.lower()
        yield from _send(self._client, memoryview(head))
        if not asked.startswith(b"HEAD ") and head[9:12] not in BODYLESS:
            body = Body(lower, to_the_end=True)
            yield from self._move(store, self._client, body)
            if body.left is None:
                return False
        return value(lower, b"connection") != b"close"

    def _connected(self) -> Side:
        """Return the connection to the store, a new one where that has closed the last."""
        store, relay = self._store, self._relay
        if store is not None:
            if not (store.closed or store.held or store.readable):
                return store
            relay.unwatch(store)
        self._store = store = Side(socket.create_connection(relay.address))
        relay.watch(store, relay.flow_of(self._client))
        return store

    def _head(self, side: Side) -> Generator[Wait, None, bytes | None]:
        """Return the next head; None where the side closed before it began one."""
        data = side.held
        while (end := data.find(END)) < 0:
            received = yield from _receive(side)
            if not received:
                if data:
                    raise Hung("in the middle of a head")
                return None
            data += received
        side.held = data[end + len(END) :]
        return data[: end + len(END)]

    def _move(self, source: Side, sink: Side, body: Body, *, refused: bool = False) -> Flow:
        """Move a body, no faster than the rate.

        `refused`: the sink may have answered without reading; the rest is read all the same.
        """
        relay, due = self._relay, monotonic()
        listening = True
        while not body.over:
            if relay.rate is not None and due > monotonic():
                yield due
            block: bytes | memoryview = yield from _block(source, relay.buffer, body.most)
            if not block:
                if body.left is None:
                    return
                raise Hung("in the middle of a body")
            taken = body.take(memoryview(block))
            if taken < len(block):
                source.held = bytes(block[taken:]) + source.held
            relay.moved += taken
            if relay.rate is not None:
                due += taken / relay.rate
            if listening:
                try:
                    yield from _send(sink, memoryview(block)[:taken])
                except (BrokenPipeError, ConnectionResetError):
                    if not refused:
                        raise
                    listening = False


def _receive(side: Side) -> Generator[Wait, None, bytes]:
    """Return what comes; b"" where the side closed."""
    while True:
        while not side.readable:
            yield side
        try:
            received = side.socket.recv(HEAD)
        except BlockingIOError:
            side.readable = False
        else:
            side.received(len(received), HEAD)
            return received


def _block(
    side: Side, buffer: memoryview, most: int | None
) -> Generator[Wait, None, bytes | memoryview]:
    """Return the next bytes of a body, at most `most` if it is known; empty at the end.

    What it returns is only there until the flow waits again.
    """
    if side.held:
        held = side.held[:most] if most else side.held[:BLOCK]
        side.held = side.held[len(held) :]
        return held
    view = buffer[:most] if most else buffer
    while True:
        while not side.readable:
            yield side
        try:
            count = side.socket.recv_into(view)
        except BlockingIOError:
            side.readable = False
        else:
            side.received(count, len(view))
            return view[:count]


def _send(side: Side, data: memoryview) -> Flow:
    """Send all of it."""
    while data:
        try:
            data = data[side.socket.send(data) :]
        except BlockingIOError:
            data = memoryview(bytes(data))  # others use the buffer meanwhile
            side.writable = False
            while not side.writable:
                yield side
