"""The HTTP server of a worker's metrics, with clients good and bad."""

from __future__ import annotations

import errno
import http.client
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from fusefs.mount import scrapes
from fusefs.mount.scrapes import ScrapeServer
from tests.fusefs.listeners import FailingListener, failing


def application(_environment: Any, start: Any) -> Iterable[bytes]:
    """Answer anything."""
    start("200 OK", [("content-type", "text/plain")])
    return [b"metric 1\n"]


@pytest.fixture
def listener() -> Iterator[FailingListener]:
    """A listener on this machine, served until the end."""
    with failing(socket.create_server(("127.0.0.1", 0)), []) as listener:
        server = ScrapeServer(listener, application)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield listener
        server.shutdown()
        thread.join()


def scraped(listener: FailingListener) -> bytes:
    """Return the metrics."""
    client = http.client.HTTPConnection(*listener.getsockname(), timeout=10)
    client.request("GET", "/metrics")
    try:
        return client.getresponse().read()
    finally:
        client.close()


def test_a_full_descriptor_table_takes_neither_a_core_nor_the_log(
    listener: FailingListener, caplog: pytest.LogCaptureFixture
) -> None:
    """The client waits in the queue, asked for a few times a second, and is answered later."""
    listener.failures = [errno.EMFILE] * 1_000_000
    with socket.create_connection(listener.getsockname(), 10) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        time.sleep(0.3)
        assert listener.calls < 10
        listener.failures.clear()
        assert client.recv(100).startswith(b"HTTP/1.0 200")
    assert [record.message for record in caplog.records] == [
        "cannot accept a client of the metrics"
    ]
    caplog.clear()


def test_silent_clients_take_no_more_than_a_few_threads(listener: FailingListener) -> None:
    """Whoever reaches the port can't wear out the worker; scrapes go on being answered."""
    before = threading.active_count()
    with ExitStack() as stack:
        for number in range(40):
            client = stack.enter_context(socket.create_connection(listener.getsockname(), 5))
            client.sendall(b"GET /metr" * (number % 2))
        assert scraped(listener) == b"metric 1\n"
        assert threading.active_count() - before < 30


def test_half_a_request_is_not_waited_for(
    listener: FailingListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that falls silent is dropped."""
    monkeypatch.setattr(scrapes._Handler, "timeout", 0.1)
    with socket.create_connection(listener.getsockname(), 10) as client:
        client.sendall(b"GET /metrics HT")
        assert client.recv(100) == b""
