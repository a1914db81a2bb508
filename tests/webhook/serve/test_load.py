"""The server under load: drained, killed, given new certificates; clients that verify."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from tests.waiting import until
from tests.webhook import reviews
from tests.webhook.serve.test_server import JSON, Running, issue, running

CLIENTS = 4


class Load:
    """Clients that send reviews over kept connections, and what they got."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        self.answered = 0
        self.failed: list[Exception] = []

    def _run(self) -> None:
        with self._server.client() as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/mutate", content=reviews.body(), headers=JSON)
                    assert reviews.response(answer.content)["allowed"]
                    self.answered += 1
                except httpx.HTTPError as error:
                    self.failed.append(error)
                    time.sleep(0.05)

    @contextmanager
    def sent(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered > 10)
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def allowed(client: httpx.Client) -> bool:
    """What the server says to a sound pod."""
    answer = client.post("/mutate", content=reviews.body(), headers=JSON)
    return bool(reviews.response(answer.content)["allowed"])


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


def test_no_review_fails_while_draining(tmp_path: Path, ca: trustme.CA) -> None:
    """From the signal until clients have moved on every review is answered."""
    issue(tmp_path, ca)
    with running(tmp_path, ca, S3MOUNT_DRAIN_SECONDS="4") as server:
        server.wait()
        load = Load(server)
        with load.sent():
            server.process.send_signal(signal.SIGTERM)
            server.wait(503)
            before = load.answered
            until(lambda: load.answered > before + 10)
        assert load.failed == []
        assert server.process.wait(15) == 0


def test_no_review_fails_while_certificates_change(tmp_path: Path, ca: trustme.CA) -> None:
    """Renewal under load: no connection is dropped, new ones get the new certificate."""
    issue(tmp_path, ca)
    with running(tmp_path, ca) as server:
        server.wait()
        load = Load(server)
        with load.sent():
            for _ in range(3):
                before = server.serial()
                issue(tmp_path, ca)
                until(lambda before=before: server.serial() != before)
        assert load.failed == []


def test_another_replica_takes_over_after_a_kill(tmp_path: Path, ca: trustme.CA) -> None:
    """A killed server leaves nothing behind that its successor stumbles over."""
    issue(tmp_path, ca)
    with running(tmp_path, ca) as server:
        server.wait()
        load = Load(server)
        with load.sent():
            server.process.kill()
            until(lambda: bool(load.failed))
    with running(tmp_path, ca) as successor:
        successor.wait()
        with Load(successor).sent():
            pass


def test_second_signal_ends_the_drain(tmp_path: Path, ca: trustme.CA) -> None:
    """Whoever asks twice needn't wait."""
    issue(tmp_path, ca)
    with running(tmp_path, ca, S3MOUNT_DRAIN_SECONDS="60") as server:
        server.wait()
        server.process.send_signal(signal.SIGTERM)
        server.wait(503)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0


def test_policy_is_reloaded_under_way(tmp_path: Path, ca: trustme.CA) -> None:
    """An edited policy file decides about the next reviews; a broken one is only told about."""
    issue(tmp_path, ca)
    policy = tmp_path / "policy.yaml"
    policy.write_text("default: allow")
    with (
        running(tmp_path, ca, S3MOUNT_POLICY_FILE=str(policy)) as server,
        server.client() as client,
    ):
        server.wait()
        policy.write_text("default: deny")
        until(lambda: not allowed(client))
        policy.write_text("default: [")
        until(lambda: "policy_valid 0.0" in server.metrics())
        ready = client.get("/readyz")
        assert (ready.status_code, list(ready.json()["troubles"])) == (200, ["policy"])
        assert not allowed(client)
