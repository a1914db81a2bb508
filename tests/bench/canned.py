"""A store that answers each path with bytes given beforehand, and keeps what it was sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from tests.proxy.wire import Connection, DisconnectError
from tests.servers.s3 import Credentials, Endpoint


@dataclass(frozen=True)
class Arrival:
    """A request: when its head was there, the head, and its body as it was on the wire."""

    at: float
    head: bytes
    body: bytes


class CannedStore:
    """A running store; use as a context manager. A thread for each connection.

    `answers`: by path; `closing`: paths behind whose answer the connection is closed. `gate`, if
    set, has all answers wait until as many requests have arrived.
    """

    def __init__(self, answers: Mapping[str, bytes], closing: tuple[str, ...] = ()) -> None:
        self.arrived: list[Arrival] = []
        self.gate: threading.Barrier | None = None
        self._answers = answers
        self._closing = closing
        self._listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.endpoint = Endpoint(url, Credentials("key", "secret"))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError, DisconnectError):
            connection = Connection(sock)
            while (head := connection.head()) is not None:
                at = monotonic()
                self.arrived.append(Arrival(at, head.raw, b"".join(connection.body(head))))
                if self.gate is not None:
                    self.gate.wait(20)
                path = head.start.split()[1].partition("?")[0]
                connection.send(self._answers[path])
                if path in self._closing:
                    return

    def __enter__(self) -> CannedStore:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
