"""The agent: rounds, files, log lines; and the real process against an API server over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from certs.agent import POLL_SECONDS, SOON_SECONDS, Agent
from certs.rotation import Rotation
from certs.tlsdir import TlsDirectory
from tests.certs.api_server import ApiServer, serving
from tests.certs.fake import NAMES, FakeCluster, TestClock
from tests.certs.handshake import handshake
from tests.certs.test_cluster import PATH, SECRET
from tests.deploy.rendered import one

HOST = "s3mount-webhook.s3mount-system.svc"


class Lines:
    """A log that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, event: str, **_: str) -> None:
        self.lines.append(("info", event))

    def warning(self, event: str, **_: str) -> None:
        self.lines.append(("warning", event))


class Pod:
    """One replica: agent, directory and log."""

    def __init__(self, cluster: FakeCluster, directory: Path) -> None:
        self.log = Lines()
        self.tls = TlsDirectory(directory)
        rotation = Rotation(cluster, cluster.clock, NAMES, self.tls.read())
        self.agent = Agent(rotation, self.tls, self.log)
        self.clock = cluster.clock

    def rounds(self, count: int) -> list[float]:
        """Go round, letting the pauses pass."""
        pauses = []
        for _ in range(count):
            pauses.append(self.agent.round())
            self.clock.advance(pauses[-1])
        return pauses


@pytest.fixture
def cluster() -> FakeCluster:
    """A fresh cluster."""
    return FakeCluster(TestClock())


@pytest.fixture
def pod(cluster: FakeCluster, tmp_path: Path) -> Pod:
    """A pod that just started."""
    return Pod(cluster, tmp_path)


def test_the_first_minutes_in_files_and_lines(pod, tmp_path):
    """A certificate and `ready` after some seconds; each event is logged once."""
    pod.rounds(20)
    assert pod.tls.read() is not None
    assert (tmp_path / "ready").exists()
    assert (tmp_path / "heartbeat").exists()
    expected = ["authority-created", "bundle-written", "not-ready", "leaf-signed", "ready"]
    assert [line for _, line in pod.log.lines] == expected


def test_ready_never_comes_before_the_certificate(pod, tmp_path):
    """Whoever sees `ready` can load the pair."""
    for _ in range(12):
        pod.rounds(1)
        assert not (tmp_path / "ready").exists() or pod.tls.read() is not None


def test_it_hurries_only_while_something_is_about_to_happen(pod):
    """A second while a CA settles, five when there is nothing to do, never quite in step."""
    pauses = pod.rounds(30)
    assert max(pauses[:5]) <= 1.2 * SOON_SECONDS
    assert min(pauses[10:]) >= 0.8 * POLL_SECONDS
    assert len(set(pauses)) == len(pauses)


def test_an_overwritten_bundle_takes_ready_away_until_repaired(cluster, pod, tmp_path):
    """The webhook takes no reviews that the API server wouldn't send anyway."""
    pod.rounds(20)
    cluster.overwrite_bundle(b"")
    assert pod.rounds(1)[0] <= 1.2 * SOON_SECONDS
    assert not (tmp_path / "ready").exists()
    pod.rounds(1)
    assert (tmp_path / "ready").exists()


def test_a_restart_keeps_certificate_and_ready(cluster, pod, tmp_path):
    """Also while the API server is away."""
    pod.rounds(20)
    before = pod.tls.read()
    for down in (True, False):
        cluster.down = down
        again = Pod(cluster, tmp_path)
        again.rounds(3)
        assert (tmp_path / "ready").exists()
        assert again.tls.read() == before


def test_an_api_server_that_is_away_is_logged_once(cluster, pod):
    """Not every five seconds for the length of an upgrade."""
    pod.rounds(20)
    pod.log.lines.clear()
    cluster.down = True
    pod.rounds(30)
    assert pod.log.lines == [("warning", "try-again")]


@contextmanager
def running(server: ApiServer, tls: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The real agent, with a kubeconfig for the server."""
    cluster = {"name": "c", "cluster": {"server": server.url}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {"clusters": [cluster], "contexts": [context], "current-context": "c", "users": []}
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    environment = {k: v for k, v in os.environ.items() if k != "KUBERNETES_SERVICE_HOST"}
    arguments = [f"--tls-dir={tls}", "--service=s3mount-webhook", "--namespace=s3mount-system"]
    names = ["--webhook-configuration=mount-s3-injector", "--secret=s3mount-webhook-ca"]
    process = subprocess.Popen(
        [sys.executable, "-m", "certs", "rotate", *arguments, *names],
        env={**environment, "KUBECONFIG": str(folder / "kubeconfig")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path: Path, seconds: float = 40) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.1)


def test_two_real_agents_agree_and_end_on_sigterm(tmp_path):
    """Started together on an empty cluster: one CA, two leaves, exit code 0, JSON lines."""
    folders = [tmp_path / name for name in ("a", "b")]
    with serving() as server, ExitStack() as stack:
        server.put(PATH, one("MutatingWebhookConfiguration", "mount-s3-injector"))
        agents = []
        for folder in folders:
            folder.mkdir()
            agents.append(stack.enter_context(running(server, folder, tmp_path)))
        for folder in folders:
            wait_for(folder / "ready")
        ends = [end(agent) for agent in agents]
    check_end(server, folders, ends)


def end(agent: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Stop an agent as the kubelet does."""
    agent.send_signal(signal.SIGTERM)
    out, err = agent.communicate(timeout=20)
    return agent.returncode, out, err


def check_end(server: ApiServer, folders: list[Path], ends: list[tuple[int, str, str]]) -> None:
    """Clean exits, one CA for both, accepted by a client."""
    leaves = [TlsDirectory(folder).read() for folder in folders]
    assert [code for code, _, _ in ends] == [0, 0]
    assert [err for _, _, err in ends] == ["", ""]
    created: list[Any] = [
        line
        for _, out, _ in ends
        for line in map(json.loads, out.splitlines())
        if line["event"] == "authority-created"
    ]
    assert len(created) == 1
    assert server.objects[SECRET]["type"] == "Opaque"
    for leaf in leaves:
        assert leaf is not None
        assert handshake(leaf, leaves[0].issuer.certificate, HOST) == "TLSv1.3"


def test_a_directory_that_cannot_be_written_ends_the_agent_with_one_line(tmp_path):
    """Exit code 1: the kubelet starts it again and the line is in its log."""
    with serving() as server:
        server.put(PATH, one("MutatingWebhookConfiguration", "mount-s3-injector"))
        with running(server, tmp_path / "none", tmp_path) as agent:
            _, err = agent.communicate(timeout=30)
    assert agent.returncode == 1
    assert err.startswith(f"certs: {tmp_path / 'none'} can't take the certificate")
    assert err.count("\n") == 1
