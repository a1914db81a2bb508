"""The port that the metrics are served on, over plain HTTP.

Open, and answering, before there is a certificate; the limits on its clients are those of reviews
with smaller numbers (`server`, `listener`). Not here: the metrics (`metrics`). Threading: an event
loop on a thread of its own.
"""

from threading import Thread
from types import TracebackType
from typing import Self

from webhook.errors import SettingsError
from webhook.serve.listener import listen
from webhook.serve.metrics import Metrics
from webhook.serve.server import ScrapeServer


class MetricsPort:
    """Serves the metrics from a thread of its own, until closed."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        """Listen, on a free port for 0; SettingsError if the port can't be had."""
        try:
            self._door = listen(host, port)
        except SettingsError as error:
            raise SettingsError(f"can't serve metrics: {error}") from error
        self.port: int = self._door.getsockname()[1]
        self._server = ScrapeServer(metrics.application(), self._door)
        self._thread = Thread(
            target=self._server.run, args=([self._door],), name="metrics", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._thread.join()
        self._door.close()
