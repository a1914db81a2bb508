"""The HTTP server that metrics are scraped from: small, and not to be worn out by its clients.

The standard library's server would wait for ever for a request that doesn't come, with a thread
and a descriptor for each; whoever reaches the port could take both from the process. Here
a silent client is dropped after seconds, and where too many come at once the oldest has to go.

Threading: a thread for each connection; `_lock` guards the list of those that are open.
"""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from fusefs import locks
from fusefs.acceptor import Acceptor
from fusefs.locks import Rank

# A scraper sends its request in one packet.
_SECONDS = 5.0
_MOST = 16
log = logging.getLogger(__name__)
Application = Callable[..., Iterable[bytes]]


class _Handler(WSGIRequestHandler):
    timeout = _SECONDS

    def log_message(self, *_: Any) -> None:
        """Nobody reads who scraped."""


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """Serves one WSGI application to few clients at a time."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, application: Application) -> None:
        """Serve on a socket that listens already."""
        self._lock = locks.lock(Rank.LEAF)
        self._open: list[Any] = []
        self._acceptor = Acceptor(_report)
        host, port = listener.getsockname()[:2]
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        # Not the parent's, which would ask the DNS for our name.
        self.server_name, self.server_port = str(host), port
        self.setup_environ()
        self.set_app(application)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; OSError, which the parent takes for "nobody there", after a failure."""
        accepted = self._acceptor.accept(self.socket)
        if accepted is None:
            raise BlockingIOError
        return accepted

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin with a connection, at the cost of the oldest if there are too many."""
        with self._lock:
            self._open.append(request)
            oldest = self._open.pop(0) if len(self._open) > _MOST else None
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Be done with a connection."""
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """A client that gives up is its own business."""


def _report(error: OSError) -> None:
    log.warning("cannot accept a client of the metrics", extra={"error": str(error)})
