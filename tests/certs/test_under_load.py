"""The real webhook and our agent over one directory, while the CA is rotated under load."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certs.trust import AUTHORITY_LIFETIME
from certs.x509 import load_bundle, new_signer
from tests.certs.fake import NAMES, FakeCluster, TestClock
from tests.certs.test_agent import Pod, wait_for


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def webhook(tls: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m webhook serve` over a directory."""
    settings = {
        "S3MOUNT_REQUIRE_READY_FILE": "true",
        "S3MOUNT_DRAIN_SECONDS": "0s",
        "S3MOUNT_METRICS_PORT": str(free_port()),
        "S3MOUNT_HOST": "127.0.0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "webhook", "serve", f"--tls-dir={tls}", f"--port={port}"],
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.wait()


class Client:
    """An API server's side: trusts the live caBundle alone, a new connection for each request."""

    def __init__(self, cluster: FakeCluster, port: int) -> None:
        self.cluster = cluster
        self.port = port
        self.issuers: set[str] = set()
        self.answers: list[int] = []
        self.errors: list[BaseException] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Ask whether the webhook is ready until told to stop."""
        while not self.done.is_set():
            try:
                self.answers.append(self.ask())
            except OSError as error:
                self.errors.append(error)

    def ask(self) -> int:
        """One verified request."""
        bundle = self.cluster.history[-1][1]
        context = ssl.create_default_context(cadata=bundle.decode())
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        with context.wrap_socket(raw, server_hostname=NAMES[0]) as connection:
            self.issuers.add(str(connection.getpeercert()["issuer"]))
            asking = http.client.HTTPConnection("webhook")
            asking.sock = connection
            asking.request("GET", "/readyz")
            return asking.getresponse().status


def nearly_due_cluster() -> FakeCluster:
    """Now, with a CA whose rotation is due in half a minute."""
    clock = TestClock()
    clock.shift = datetime.now(UTC) - clock.now()
    cluster = FakeCluster(clock)
    age = AUTHORITY_LIFETIME * 2 / 3 - timedelta(seconds=30)
    signer = new_signer(clock.now() - age, AUTHORITY_LIFETIME)
    cluster.overwrite_secret(ca_crt=signer.authority.certificate, ca_key=signer.key)
    return cluster


def test_rotation_under_load_fails_no_verifying_client(tmp_path):
    """Every handshake verifies and every answer is 200 while CA and leaf change over."""
    cluster, port = nearly_due_cluster(), free_port()
    pod = Pod(cluster, tmp_path)
    pod.rounds(9)
    wait_for(tmp_path / "ready", 1)
    with webhook(tmp_path, port):
        client = Client(cluster, port)
        wait_until_ready(client)
        load = threading.Thread(target=client.run)
        load.start()
        for _ in range(120):
            pod.agent.round()
            cluster.clock.advance(1)
            time.sleep(0.05)
        time.sleep(2.5)
        client.done.set()
        load.join(20)
    assert (client.errors, set(client.answers)) == ([], {200})
    assert len(client.issuers) == len(load_bundle(cluster.history[-1][1])) == 2


def wait_until_ready(client: Client) -> None:
    """Until the webhook is up; refused connections are fine so far."""
    end = time.monotonic() + 40
    while True:
        try:
            if client.ask() == 200:
                return
        except ConnectionError:
            assert time.monotonic() < end
        time.sleep(0.1)
