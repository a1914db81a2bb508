"""The proxy: counts what a client asks of a store and makes it go wrong on demand.

It forwards heads unchanged, `Host` included, so signatures stay valid. One thread per connection
of the client; `_lock` guards the list of requests, the rules and the open connections, and is
never held while bytes move.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.proxy.exchange import Exchange, Match, Requests
from tests.proxy.faults import EXPIRED_TOKEN, Cut, Fault, Refusal
from tests.proxy.operations import operation
from tests.proxy.wire import Connection, DisconnectError, Head
from tests.servers.s3 import Endpoint

_NO_FAULT = Fault()


class Injection:
    """A fault, the exchanges it befalls, and how often it may still do so."""

    def __init__(self, fault: Fault, match: Match, times: int | None) -> None:
        self.fault = fault
        self.match = match
        self.left = times
        self.hits = 0

    def take(self, exchange: Exchange) -> bool:
        """Say whether this exchange is befallen, and count it."""
        if self.left == 0 or not self.match(exchange):
            return False
        self.left = None if self.left is None else self.left - 1
        self.hits += 1
        return True

    def stop(self) -> None:
        """Let everything through from now on."""
        self.left = 0


class Proxy:
    """A proxy in front of one store; use as a context manager.

    `latency` (seconds) delays every request; it may be changed at any time. `rate` is how many
    bytes of a body a connection carries in a second, either way; None for as many as it can.
    """

    def __init__(self, store: Endpoint, latency: float = 0.0, rate: float | None = None) -> None:
        self.latency = latency
        self.rate = rate
        self._target = urlsplit(store.url)
        self._lock = threading.Lock()
        self._requests: list[Exchange] = []
        self._injections: list[Injection] = []
        self._connections: set[Connection] = set()
        self._closing = threading.Event()
        self._relief = threading.Event()  # ends the stalls that are under way
        self._listener = self._listen(0)
        self._port = self._listener.getsockname()[1]
        self.endpoint = Endpoint(f"http://127.0.0.1:{self._port}", store.credentials)

    @property
    def requests(self) -> Requests:
        """All requests so far."""
        with self._lock:
            return Requests(self._requests)

    @contextmanager
    def counting(self) -> Iterator[Requests]:
        """Give the requests that begin inside the block; complete when the block is left."""
        with self._lock:
            first = len(self._requests)
        seen = Requests()
        try:
            yield seen
        finally:
            with self._lock:
                seen.extend(self._requests[first:])

    def settle(self, quiet: float = 0.2, seconds: float = 20.0) -> None:
        """Wait until no request has been under way for `quiet` seconds: the end of read-ahead."""
        deadline, calm_since = monotonic() + seconds, monotonic()
        while monotonic() - calm_since < quiet:
            if not all(exchange.done for exchange in self.requests):
                calm_since = monotonic()
            if monotonic() > deadline:
                raise TimeoutError(f"still requests under way after {seconds} s")
            self._closing.wait(0.02)

    def inject(self, fault: Fault, match: Match, times: int | None = 1) -> Injection:
        """Let a fault befall the next `times` matching requests, all of them for None."""
        injection = Injection(fault, match, times)
        with self._lock:
            self._injections.append(injection)
        return injection

    def reject(self, access_key: str, fault: Fault = EXPIRED_TOKEN) -> Injection:
        """Refuse whatever this key signed, from now on."""
        return self.inject(fault, lambda exchange: exchange.access_key == access_key, times=None)

    def heal(self) -> None:
        """Inject nothing any more; what stalls goes on."""
        with self._lock:
            self._injections.clear()
            relief, self._relief = self._relief, threading.Event()
        relief.set()

    def refuse(self) -> None:
        """Break all connections and refuse new ones until `accept`."""
        # shutdown() wakes the thread in accept(); close() alone would leave it waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break_connections()

    def accept(self) -> None:
        """Take connections again, on the same port."""
        self._listener = self._listen(self._port)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Be unreachable inside the block."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.heal()
        with suppress(OSError):
            self.refuse()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept_all, args=(listener,), daemon=True).start()
        return listener

    def _accept_all(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            client = Connection(accepted)
            with self._lock:
                self._connections.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _break_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: Connection) -> None:
        store: Connection | None = None
        reset = False
        try:
            while (head := client.head()) is not None:
                if store is None or not store.idle():
                    store = self._connect(store)
                if not self._exchange(client, store, head):
                    break
        except Cut as cut:
            reset = cut.reset
        except (OSError, DisconnectError):
            reset = True
        finally:
            with self._lock:
                self._connections.discard(client)
            if store is not None:
                store.close()
            client.reset() if reset else client.close()

    def _connect(self, old: Connection | None) -> Connection:
        if old is not None:
            old.close()
        address = (self._target.hostname, self._target.port)
        return Connection(socket.create_connection(address, timeout=None))

    def _exchange(self, client: Connection, store: Connection, head: Head) -> bool:
        """Serve one request; say whether the connections can carry another."""
        exchange = _parse(head)
        fault = self._admit(exchange)
        try:
            self._closing.wait(self.latency)
            refusal = fault.arrive(self._pause)
            if refusal is not None:
                return _refuse(client, head, exchange, refusal)
            self._forward(client, store, head, exchange, fault)
            return self._relay(client, store, exchange, fault)
        finally:
            exchange.done = True

    def _admit(self, exchange: Exchange) -> Fault:
        with self._lock:
            self._requests.append(exchange)
            for injection in self._injections:
                if injection.take(exchange):
                    exchange.fault = type(injection.fault).__name__
                    return injection.fault
        return _NO_FAULT

    def _forward(
        self, client: Connection, store: Connection, head: Head, exchange: Exchange, fault: Fault
    ) -> None:
        store.send(head.without("expect"))
        if head.headers.get("expect", "").lower() == "100-continue":
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        listening = True
        for block in _paced(fault.upload(client.body(head)), self.rate):
            exchange.uploaded += len(block)
            if listening:
                try:
                    store.send(block)
                except (BrokenPipeError, ConnectionResetError):
                    listening = False  # it has refused without reading: its answer is waiting

    def _relay(self, client: Connection, store: Connection, seen: Exchange, fault: Fault) -> bool:
        answer = store.head()
        while answer is not None and answer.start.split()[1] == "100":
            answer = store.head()  # an unasked-for "continue": the client has long continued
        if answer is None:
            raise DisconnectError("the store closed without an answer")
        head = fault.answer(answer)
        seen.status = int(answer.start.split()[1])
        client.send(head)
        bodyless = seen.method == "HEAD" or seen.status in (204, 304)
        blocks = iter(()) if bodyless else store.body(answer, to_the_end=True)
        for block in _paced(fault.download(blocks, self._pause), self.rate):
            seen.downloaded += len(block)
            client.send(block)
        return answer.headers.get("connection", "").lower() != "close"

    def _pause(self, seconds: float) -> None:
        with self._lock:
            relief = self._relief
        relief.wait(seconds)


def _parse(head: Head) -> Exchange:
    method, target, _ = head.start.split(" ", 2)
    path, _, query_text = target.partition("?")
    bucket, _, key = path.lstrip("/").partition("/")
    query = dict(parse_qsl(query_text, keep_blank_values=True, errors="surrogateescape"))
    key = unquote(key, errors="surrogateescape")
    name = operation(method, key, query, head.headers)
    return Exchange(method, bucket, key, query, head.headers, name)


def _paced(blocks: Iterator[bytes], rate: float | None) -> Iterator[bytes]:
    """Yield blocks no faster than at `rate` bytes per second."""
    if rate is None:
        yield from blocks
        return
    due = monotonic()
    for block in blocks:
        sleep(max(0.0, due - monotonic()))
        due += len(block) / rate
        yield block


def _refuse(client: Connection, head: Head, exchange: Exchange, refusal: Refusal) -> bool:
    """Answer for the store, after taking the body so that the client isn't cut off in sending."""
    if head.headers.get("expect", "").lower() == "100-continue":
        client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    for block in client.body(head):
        exchange.uploaded += len(block)
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{refusal.code}</Code><Message>injected</Message></Error>"
    ).encode()
    exchange.status = refusal.status
    reply = f"HTTP/1.1 {refusal.status} {refusal.code}\r\nContent-Type: application/xml\r\n"
    client.send(f"{reply}Content-Length: {len(body)}\r\n\r\n".encode())
    if exchange.method != "HEAD":
        client.send(body)
    return True
