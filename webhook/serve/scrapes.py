"""The HTTP server of the metrics, with limits on its clients.

The standard library's server waits for ever for a request, with a thread and a descriptor for each
client; silent clients could exhaust both. Here a silent client is closed after seconds, and if too
many are connected the oldest is closed.

Threading: a thread for each connection; `_lock` guards the list of those that are open.
"""

import contextlib
import socket
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from threading import Lock
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

# A scraper sends its request in one packet.
_PATIENCE = 5.0
_MOST = 16
Application = Callable[..., Iterable[bytes]]


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """Serves one WSGI application to few clients at a time."""

    daemon_threads = True
    block_on_close = False
    # With the library's 5, clients after a burst wait seconds for a TCP retry.
    request_queue_size = 128

    def __init__(self, host: str, port: int, application: Application) -> None:
        """Bind and listen; OSError if the port isn't available."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._lock = Lock()
        self._open: list[Any] = []
        super().__init__((host, port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind without the parent's DNS request for our name."""
        if self.server_address[0] == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection; if there are too many, close the oldest."""
        with self._lock:
            self._open.append(request)
            oldest = self._open.pop(0) if len(self._open) > _MOST else None
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Ignore errors of one client."""
