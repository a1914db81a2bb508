"""A front that speaks TLS for a store that doesn't: for tests of what differs on TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from certs.__main__ import main as certs
from tests.servers.s3 import Endpoint


class TlsFront:
    """Use as a context manager; `authority` is the CA's certificate. Threads for each connection.

    `accepted` counts connections.
    """

    def __init__(self, store: Endpoint, directory: Path) -> None:
        certs(["issue", "--dns", "localhost", "--out", str(directory)])
        self.authority = directory / "ca.crt"
        self.accepted = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        self._target = (urlsplit(store.url).hostname, urlsplit(store.url).port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        url = f"https://localhost:{self._listener.getsockname()[1]}"
        self.endpoint = Endpoint(url, store.credentials)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError):
            client = self._context.wrap_socket(plain, server_side=True)
            store = socket.create_connection(self._target)
            for source, sink in ((client, store), (store, client)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def __enter__(self) -> TlsFront:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(1 << 16):
            sink.sendall(block)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
