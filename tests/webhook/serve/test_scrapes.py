"""docs/policy.md, "What the webhook tells": the metrics' port, with clients good and bad."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from webhook.errors import SettingsError
from webhook.serve.metrics import Metrics, MetricsPort


@pytest.fixture
def port() -> Iterator[MetricsPort]:
    with MetricsPort(Metrics(), "127.0.0.1", 0) as opened:
        yield opened


def test_metrics_are_served(port: MetricsPort) -> None:
    """In the text format, over plain HTTP."""
    answer = httpx.get(f"http://127.0.0.1:{port.port}/metrics")
    assert answer.status_code == 200
    assert "s3mount_webhook_policy_valid" in answer.text


def test_silent_clients_take_no_more_than_a_few_threads(port: MetricsPort) -> None:
    """Whoever reaches the port can't wear out the process; scrapes go on being answered."""
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", port.port), 5))
        test_metrics_are_served(port)
        assert threading.active_count() - before < 30


def test_half_a_request_is_not_waited_for(port: MetricsPort) -> None:
    """A client that falls silent is dropped within seconds."""
    with socket.create_connection(("127.0.0.1", port.port), 15) as client:
        client.sendall(b"GET /metrics HT")
        began = time.monotonic()
        assert client.recv(100) == b""
        assert time.monotonic() - began < 10


def test_port_that_is_taken_is_told(port: MetricsPort) -> None:
    """With the port in the message."""
    with pytest.raises(SettingsError, match=f"port {port.port}"):
        MetricsPort(Metrics(), "127.0.0.1", port.port)
