"""The port that the metrics of a process's mounts are served on, which costs nothing until asked.

Most workers are never scraped: until the first client comes there is a listening socket and a
thread that waits. Then the server and what it renders with are imported (40 ms, 6 MiB). Not here:
the metrics (`metrics`), HTTP (`scrapes`). Threading: one thread accepts, one for each client.
"""

import contextlib
import logging
import select
import socket
from collections.abc import Callable, Mapping
from threading import Thread
from types import TracebackType
from typing import Self

from fusefs.errors import SetupError
from fusefs.mount.mount import Mounted

log = logging.getLogger(__name__)

# A pod listens on its own address, whatever that is, of either family.
EVERYWHERE = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
# With the library's 5, a burst of clients makes the next one wait for a TCP retry: seconds.
QUEUE = 128

Mounts = Callable[[], Mapping[str, Mounted]]


class MetricsPort:
    """Serves the metrics of `mounts`, by name, over plain HTTP until closed."""

    def __init__(self, mounts: Mounts, port: int, host: str = EVERYWHERE) -> None:
        """Begin to listen, on a free port for 0; raises SetupError when the port can't be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server(
                (host, port), family=family, backlog=QUEUE, dualstack_ipv6=host == "::"
            )
        except OSError as error:
            raise SetupError(f"--metrics-port {port}: {error.strerror}") from error
        self.port: int = self._listener.getsockname()[1]
        self._mounts = mounts
        self._end, self._ended = socket.socketpair()
        self._thread = Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()
        log.info("metrics are served", extra={"port": self.port})

    def _run(self) -> None:
        ready, _, _ = select.select([self._listener, self._ended], [], [])
        if self._ended in ready:
            return
        from fusefs.mount.metrics import Metrics
        from fusefs.mount.scrapes import ScrapeServer

        server = ScrapeServer(self._listener, Metrics(self._mounts).application())
        ending = Thread(target=self._shut, args=(server.shutdown,), daemon=True)
        ending.start()
        server.serve_forever()
        ending.join()

    def _shut(self, shutdown: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            self._ended.recv(1)
        shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.close()
        self._thread.join()
        self._ended.close()
        self._listener.close()
