"""docs/policy.md, "Limits against abuse": strangers cost no memory and shut nobody out."""

import contextlib
import re
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.waiting import until
from tests.webhook import reviews
from tests.webhook.parse.test_jsontext import HOSTILE
from tests.webhook.serve.test_server import JSON, Running, issue, running
from webhook.serve.listener import HANDSHAKES_PER_PEER

# Below the request of the container, 128 MiB; its limit is twice that.
RSS_MIB = 120
FULL = "out of system resource"
HEAD = b"POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory, ca = tmp_path_factory.mktemp("tls"), trustme.CA()
    issue(directory, ca)
    with running(directory, ca) as server:
        server.wait()
        yield server


def mib(server: Running, field: str) -> float:
    """Resident memory of the process: `VmRSS` now, `VmHWM` the most it ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    assert match
    return int(match[1]) / 1024


@pytest.fixture(scope="module", autouse=True)
def at_rest(webhook: Running) -> float:
    """Resident memory before the first attack."""
    return mib(webhook, "VmRSS")


def answers(server: Running) -> None:
    """A review by somebody who verifies is answered as ever, and no memory is gone."""
    with server.client() as client:
        answer = client.post("/mutate", content=reviews.body(), headers=JSON)
    assert reviews.response(answer.content)["allowed"]
    assert mib(server, "VmHWM") <= RSS_MIB


def connected(server: Running, stack: contextlib.ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))


def secured(server: Running, stack: contextlib.ExitStack) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.ca.configure_trust(context)
    plain = connected(server, stack)
    return stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))


def is_open(connection: socket.socket) -> bool:
    """Whether the other end hasn't hung up."""
    connection.settimeout(0)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_connections_that_say_nothing_are_few(webhook: Running) -> None:
    """Of many that never start TLS only so many of one peer stay, the latest."""
    with contextlib.ExitStack() as stack:
        silent = [connected(webhook, stack) for _ in range(600)]
        until(lambda: sum(map(is_open, silent)) <= HANDSHAKES_PER_PEER)
        answers(webhook)


def test_a_full_descriptor_table_is_no_end(webhook: Running) -> None:
    """Clients wait in the queue, at a line a second; with room again they are answered."""
    pid = webhook.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, hard))
    with contextlib.ExitStack() as stack:
        connected(webhook, stack)
        until(lambda: webhook.output.read_text().count(FULL) > 1)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        webhook.wait()
        answers(webhook)
    moments = re.findall(rf'{FULL}.*"timestamp": "(.{{21}})', webhook.output.read_text())
    assert len(set(moments)) == len(moments)


def slow_bodies(server: Running, stack: contextlib.ExitStack) -> list[ssl.SSLSocket]:
    """Many bodies that are nearly complete."""
    slow = []
    for _ in range(12):
        slow.append(secured(server, stack))
        slow[-1].sendall(HEAD + b"4000000\r\n\r\n" + b"a" * 3_900_000)
    return slow


def test_slow_bodies_hold_little(webhook: Running) -> None:
    """Of bodies that are nearly complete those that have been coming longest give way."""
    with contextlib.ExitStack() as stack:
        slow = slow_bodies(webhook, stack)
        answers(webhook)
        assert b" 408 " in slow[0].recv(100)


def test_memory_of_bodies_goes_back_to_the_system(webhook: Running, at_rest: float) -> None:
    """A replica that was attacked is soon as small as before."""
    with contextlib.ExitStack() as stack:
        slow_bodies(webhook, stack)
        answers(webhook)
    until(lambda: mib(webhook, "VmRSS") < at_rest + 16)


def test_handshakes_that_failed_hold_nothing(webhook: Running) -> None:
    """Thousands of connections that never start TLS take no more than hundreds."""
    before = 0.0
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            silent = [connected(webhook, stack) for _ in range(600)]
            until(lambda all=silent: sum(map(is_open, all)) <= HANDSHAKES_PER_PEER)
        before = before or mib(webhook, "VmRSS")
    assert mib(webhook, "VmRSS") < before + 8


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_cost_no_memory(webhook: Running, name: str) -> None:
    """As long as a body may be, and made to be large once it is parsed."""
    with webhook.client() as client:
        status = client.post("/mutate", content=HOSTILE[name], headers=JSON).status_code
    assert status in (400, 413)
    answers(webhook)


def test_requests_that_are_none_leave_few_lines(webhook: Running) -> None:
    """However many there are."""
    before = len(webhook.output.read_text().splitlines())
    for _ in range(60):
        with contextlib.ExitStack() as stack:
            stranger = secured(webhook, stack)
            stranger.sendall(b"\x00\r\n\r\n")
            assert b" 400 " in stranger.recv(100)
    assert len(webhook.output.read_text().splitlines()) - before < 40
    answers(webhook)


def test_a_length_of_many_digits_is_too_long(webhook: Running) -> None:
    """It is no number for Python, and nothing to stumble over."""
    with contextlib.ExitStack() as stack:
        stranger = secured(webhook, stack)
        stranger.sendall(HEAD + b"9" * 20 + b"\r\n\r\n")
        assert b" 413 " in stranger.recv(100)


def test_both_families_are_served(tmp_path: Path) -> None:
    """By default IPv4 and IPv6, on the webhook's port and on the metrics'."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    ca = trustme.CA()
    issue(tmp_path, ca)
    with running(tmp_path, ca, host=None) as server:
        server.wait()
        for host in ("127.0.0.1", "::1"):
            for port in (server.port, server.metrics_port):
                socket.create_connection((host, port), 5).close()
