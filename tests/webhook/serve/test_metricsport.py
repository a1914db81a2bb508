"""docs/policy.md, "What the webhook tells": the metrics' port, with clients good and bad."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.waiting import until
from webhook.errors import SettingsError
from webhook.serve.listener import listen
from webhook.serve.metrics import Metrics
from webhook.serve.metricsport import MetricsPort
from webhook.serve.server import ScrapeServer

REQUEST = b"GET /metrics HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n"


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


async def endless(_scope: Any, _receive: Any, send: Any) -> None:
    """Send far more than the buffers of sockets hold."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(2**25)})


def test_response_that_nobody_takes_is_not_waited_for() -> None:
    """A client that asks and doesn't read is dropped like one that falls silent."""
    door = listen("127.0.0.1", 0)
    server = ScrapeServer(endless, door, seconds=0.5)
    thread = threading.Thread(target=server.run, args=([door],))
    thread.start()
    with contextlib.closing(door), socket.create_connection(door.getsockname(), 5) as client:
        client.sendall(REQUEST)
        until(lambda: server.clients == 1)
        until(lambda: server.clients == 0, 5)
        server.stop()
        thread.join()


def test_body_of_a_request_is_not_waited_for(port: MetricsPort) -> None:
    """The answer comes at once, and the connection ends with it."""
    with socket.create_connection(("127.0.0.1", port.port), 3) as client:
        client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\ncontent-length: 9999\r\n\r\n"))
        answer = b"".join(iter(lambda: client.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"s3mount_webhook_policy_valid" in answer


@pytest.mark.parametrize("request_", [b"\x00\r\n\r\n", REQUEST.replace(b"/*", b"/\xff")])
def test_clients_fill_no_log(
    port: MetricsPort, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    """What they send wrong is their own business."""
    with socket.create_connection(("127.0.0.1", port.port), 3) as client:
        client.sendall(request_)
        assert client.recv(9) == b"HTTP/1.1 "
    assert caplog.records == []


def test_port_that_is_taken_is_told(port: MetricsPort) -> None:
    """With the port in the message."""
    with pytest.raises(SettingsError, match=f"port {port.port}"):
        MetricsPort(Metrics(), "127.0.0.1", port.port)
