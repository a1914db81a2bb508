"""A Prometheus of our own, that scrapes ports of this machine and answers queries."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.child import Child
from tests.servers.ports import free_ports
from tests.tools.fetched import tool

Target = tuple[int, Mapping[str, str]]


class Prometheus:
    """Scrapes each target, a port and the labels it gets, every `interval`; until closed."""

    def __init__(self, folder: Path, targets: list[Target], interval: str = "200ms") -> None:
        (self._port,) = free_ports(1)
        scrapes = [
            {
                "job_name": f"port-{port}",
                "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": dict(labels)}],
            }
            for port, labels in targets
        ]
        told = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": scrapes,
        }
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "prometheus.yml"
        config.write_text(json.dumps(told))
        self._child = Child(
            [
                str(tool("prometheus")),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            folder / "log",
        )
        self._targets = len(targets)
        self._child.wait_until(self._scrapes, 30)

    def _scrapes(self) -> bool:
        try:
            return len(self.query("up == 1")) == self._targets
        except (OSError, AssertionError):
            return False  # it listens before it answers, and then says 503 for a while

    def wait_for(self, expression: str, seconds: float = 15.0) -> list[dict[str, Any]]:
        """Ask until there is an answer; what there is after so many seconds."""
        until = time.monotonic() + seconds
        while not (found := self.query(expression)) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, now; AssertionError with Prometheus' own reason."""
        return self._ask("query", {"query": expression})

    def over(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series of an expression over a time (Unix seconds)."""
        told = {"query": expression, "start": start, "end": end, "step": step}
        return self._ask("query_range", told)

    def _ask(self, what: str, told: Mapping[str, Any]) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urllib.parse.urlencode(told)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{told['query']}: {error.read().decode()}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.stop()
