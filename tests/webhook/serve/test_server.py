"""The server as it runs: a process of its own, TLS, signals."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.waiting import until
from tests.webhook import reviews

JSON = {"content-type": "application/json"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def issue(directory: Path, ca: trustme.CA, **validity: datetime) -> None:
    """Write a pair for localhost the way an agent does: complete, then renamed into place."""
    leaf = ca.issue_cert("localhost", "127.0.0.1", **validity)
    for name, text in {
        "tls.key": leaf.private_key_pem.bytes(),
        "tls.crt": b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
        "ca.crt": ca.cert_pem.bytes(),
    }.items():
        (directory / (name + ".new")).write_bytes(text)
        (directory / (name + ".new")).rename(directory / name)


@dataclass
class Running:
    """A webhook in a process of its own."""

    process: subprocess.Popen[bytes]
    output: Path
    port: int
    metrics_port: int
    directory: Path
    ca: trustme.CA

    def client(self) -> httpx.Client:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading the system's roots is slow
        self.ca.configure_trust(context)
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=context, timeout=5)

    def wait(self, status: int = 200, path: str = "/readyz") -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError), self.client() as client:
                if client.get(path).status_code == status:
                    return
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.05)
        pytest.fail(f"{path} never answered {status}")

    def serial(self) -> str:
        """The certificate the server shows right now."""
        return ssl.get_server_certificate(("127.0.0.1", self.port))

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text


@contextlib.contextmanager
def running(
    directory: Path, ca: trustme.CA, host: str | None = "127.0.0.1", **environ: str
) -> Iterator[Running]:
    # A file: nobody reads a pipe while the test runs, and a full one stops the server.
    with (
        tempfile.NamedTemporaryFile() as output,
        _process(directory, output, host, **environ) as (process, port, metrics_port),
    ):
        yield Running(process, Path(output.name), port, metrics_port, directory, ca)


@contextlib.contextmanager
def _process(
    directory: Path, output: IO[bytes], host: str | None, **environ: str
) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    port, metrics_port = free_port(), free_port()
    flags = ["--port", str(port), "--metrics-port", str(metrics_port)]
    flags += ["--host", host] if host else []
    process = subprocess.Popen(
        [sys.executable, "-m", "webhook", "serve", "--tls-dir", str(directory), *flags],
        env=os.environ | {"S3MOUNT_DRAIN_SECONDS": "0"} | environ,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process, port, metrics_port
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def webhook(tmp_path: Path, ca: trustme.CA) -> Iterator[Running]:
    issue(tmp_path, ca)
    with running(tmp_path, ca) as server:
        server.wait()
        yield server


def test_review_over_tls(webhook: Running) -> None:
    """A client that verifies the certificate gets its review answered."""
    with webhook.client() as client:
        answer = client.post("/mutate", content=reviews.body(), headers=JSON)
    assert reviews.patch(answer.content)


def test_old_tls_versions_are_refused(webhook: Running) -> None:
    """TLS 1.1 gets no connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", webhook.port), 5) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_new_certificate_is_picked_up(webhook: Running) -> None:
    """A renewed pair is shown to new connections, and open ones go on."""
    before = webhook.serial()
    with webhook.client() as client:
        assert client.get("/healthz").status_code == 200
        issue(webhook.directory, webhook.ca)
        until(lambda: webhook.serial() != before)
        assert client.get("/healthz").status_code == 200


def test_broken_certificate_is_refused(webhook: Running) -> None:
    """A key that doesn't belong to its certificate changes nothing but a metric."""
    before = webhook.serial()
    stranger = trustme.CA().issue_cert("localhost")
    (webhook.directory / "tls.key").write_bytes(stranger.private_key_pem.bytes())
    until(lambda: "certificate_refused_total 1.0" in webhook.metrics())
    assert webhook.serial() == before
    webhook.wait(200)


def test_waits_for_its_first_certificate(tmp_path: Path, ca: trustme.CA) -> None:
    """Started before its certificate, the server serves its metrics, waits, and then serves."""
    with running(tmp_path, ca) as server:
        time.sleep(1)
        assert server.process.poll() is None
        until(lambda: "webhook_ready" in metrics_of(server))
        issue(tmp_path, ca)
        server.wait()


def test_gives_up_waiting(tmp_path: Path, ca: trustme.CA) -> None:
    """Without any certificate it ends and says what is missing."""
    with running(tmp_path / "missing", ca, S3MOUNT_TLS_WAIT="0") as server:
        assert server.process.wait(20) == 2
        assert "tls.crt or tls.key is missing" in server.output.read_text()


def test_ready_follows_the_agent(tmp_path: Path, ca: trustme.CA) -> None:
    """Where the ready file is required, it decides."""
    issue(tmp_path, ca)
    with running(tmp_path, ca, S3MOUNT_REQUIRE_READY_FILE="true") as server:
        server.wait(503)
        (tmp_path / "ready").touch()
        server.wait(200)
        (tmp_path / "ready").unlink()
        server.wait(503)


def test_drains_on_sigterm(tmp_path: Path, ca: trustme.CA) -> None:
    """Readiness goes first, reviews are answered for the drain time, then it ends with 0."""
    issue(tmp_path, ca)
    with running(tmp_path, ca, S3MOUNT_DRAIN_SECONDS="2") as server:
        server.wait()
        server.process.send_signal(signal.SIGTERM)
        server.wait(503)
        with server.client() as client:
            assert client.post("/mutate", content=reviews.body(), headers=JSON).status_code == 200
        assert server.process.wait(10) == 0


def test_directory_swapped_by_symlink(tmp_path: Path, ca: trustme.CA) -> None:
    """A mounted Secret replaces its files by one symbolic link."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        issue(tmp_path / name, ca)
    (tmp_path / "tls").symlink_to("one")
    with running(tmp_path / "tls", ca) as server:
        server.wait()
        before = server.serial()
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "tls")
        until(lambda: server.serial() != before)
    shutil.rmtree(tmp_path / "one")


def test_expired_certificate_turns_readiness_off(tmp_path: Path, ca: trustme.CA) -> None:
    """A leaf nobody renewed: not ready, and ready again with a new one."""
    issue(tmp_path, ca, not_after=datetime.now(UTC) + timedelta(seconds=8))
    with running(tmp_path, ca) as server:
        until(lambda: server.process.poll() is None and "ready 1.0" in metrics_of(server))
        until(lambda: "webhook_ready 0.0" in metrics_of(server), 20)
        issue(tmp_path, ca)
        server.wait(200)


def metrics_of(server: Running) -> str:
    """The metrics, nothing while the port isn't open yet."""
    try:
        return server.metrics()
    except httpx.HTTPError:
        return ""


def test_key_with_a_password_is_refused(tmp_path: Path, ca: trustme.CA) -> None:
    """The server doesn't ask a terminal that nobody sits at."""
    issue(tmp_path, ca)
    key = serialization.load_pem_private_key((tmp_path / "tls.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "tls.key").write_bytes(locked)
    with running(tmp_path, ca, S3MOUNT_TLS_WAIT="0") as server:
        assert server.process.wait(20) == 2
        assert "the key has a password" in server.output.read_text()


def test_half_a_head_is_not_waited_for(webhook: Running) -> None:
    """Connections that begin a handshake or a request and fall silent are closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    webhook.ca.configure_trust(context)
    with contextlib.ExitStack() as stack:
        connections: list[socket.socket] = []
        for beginning in (b"", b"POST /mutate HT", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", webhook.port), 10))
            secure = context.wrap_socket(plain, server_hostname="localhost")
            connections.append(stack.enter_context(secure))
            secure.sendall(beginning)
        for beginning in (b"", b"\x16\x03\x01"):  # no handshake, and half of one
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", webhook.port), 10))
            plain.sendall(beginning)
            connections.append(plain)
        assert [connection.recv(100) for connection in connections] == [b""] * 5
    webhook.wait(200)


def test_idle_strangers_keep_nobody_out(tmp_path: Path, ca: trustme.CA) -> None:
    """Above the limit of connections the one that has been idle longest has to go."""
    issue(tmp_path, ca)
    with running(tmp_path, ca, S3MOUNT_MAXIMUM_CONNECTIONS="4") as server:
        server.wait()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stranger = stack.enter_context(server.client())
                assert stranger.get("/healthz").status_code == 200
            used = stack.enter_context(server.client())
            for _ in range(3):
                answer = used.post("/mutate", content=reviews.body(), headers=JSON)
                assert answer.status_code == 200
                stack.enter_context(server.client()).get("/healthz")
