"""The whole of it over an API server and workers of a test's own."""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.certs.api_server import serving
from tests.waiting import until
from tests.webhook.events.pods import ENDED_AT, ended, mounted
from webhook.errors import SettingsError
from webhook.events.collector import Collector
from webhook.events.findings import Values
from webhook.events.mountedpods import PODS
from webhook.events.recorder import Recorder
from webhook.injected import WORKER
from webhook.platform.reporting import CONFLICT, MOUNT_FAILED, Reporting, read_reporting
from webhook.serve.cluster import ClusterApi, Mirror
from webhook.serve.log import make_logger


class Cluster:
    """An API server with pods, workers with metrics, and a clock."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.now = ENDED_AT - 1
        self.pods = list(pods)
        self.watch: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.values: dict[str, Values | None] = {}
        self.read: list[tuple[str, int]] = []
        self.events: list[tuple[str, str, str, int]] = []

    def get(self, path: str, accept: str, query: Mapping[str, str]) -> Iterator[bytes]:
        assert (path, accept) == ("/api/v1/pods", "application/json")
        if "watch" not in query:
            page = {"metadata": {"resourceVersion": "7"}, "items": self.pods}
            yield json.dumps(page).encode()
            return
        while (event := self.watch.get(timeout=30)) is not None:
            yield json.dumps(event).encode()

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> int:
        about = body.get("involvedObject", {})
        reason = body.get("reason", "")
        self.events.append((method, about.get("name", ""), reason, body["count"]))
        return 200

    def reading(self, address: str, port: int) -> Values:
        self.read.append((address, port))
        if (found := self.values.get(address)) is None:
            raise OSError("connection refused")
        return found


@pytest.fixture
def collected() -> Iterator[Any]:
    """A factory for collectors over a cluster; their mirrors are stopped in the end."""
    made: list[tuple[Mirror[Any], Cluster]] = []

    def make(cluster: Cluster, settings: Reporting | None = None) -> Collector:
        log = make_logger("INFO", StringIO())
        mirror = Mirror(cluster, "/api/v1/pods", PODS, log, retry=0.01)
        made.append((mirror, cluster))
        mirror.start()
        until(lambda: mirror.all() is not None)
        recorder = Recorder(cluster, log, lambda: cluster.now)
        wanted = settings or read_reporting({})
        return Collector(wanted, mirror, recorder, log, cluster.reading, lambda: cluster.now)

    yield make
    for mirror, cluster in made:
        mirror.stop()
        cluster.watch.put(None)


def test_what_happens_to_a_pod_becomes_an_event(collected: Any) -> None:
    """A conflict in its metrics, and a failed start in its status; other pods aren't touched."""
    failed = mounted("web-2", podIP="", initContainerStatuses=[ended(WORKER, message="no bucket")])
    cluster = Cluster(mounted(), failed)
    cluster.values["10.0.0.7"] = Values(ENDED_AT, {"default": {"conflicts_total": 2.0}})
    collector = collected(cluster)
    collector.look()
    assert sorted(cluster.events, key=str) == [
        ("POST", "web-1", CONFLICT, 2),
        ("POST", "web-2", MOUNT_FAILED, 1),
    ]
    assert cluster.read == [("10.0.0.7", 20303)]


def test_metrics_are_read_at_their_interval(collected: Any) -> None:
    """Statuses cost nothing and are looked at each time."""
    cluster = Cluster(mounted())
    collector = collected(cluster, read_reporting({"S3MOUNT_EVENT_INTERVAL": "30s"}))
    for _ in range(7):
        collector.look()
        cluster.now += 10
    assert len(cluster.read) == 3


def test_pods_that_come_are_seen(collected: Any) -> None:
    """By the watch, without another list."""
    cluster = Cluster()
    collector = collected(cluster)
    collector.look()
    failed = mounted("web-2", initContainerStatuses=[ended(WORKER)])
    cluster.watch.put({"type": "ADDED", "object": failed})
    until(lambda: collector._pods.get("shop", "web-2") is not None)
    collector.look()
    assert cluster.events == [("POST", "web-2", MOUNT_FAILED, 1)]


def test_reasons_that_are_not_wanted_are_left_out(collected: Any) -> None:
    """`S3MOUNT_EVENT_REASONS` names those that are; empty is none."""
    failed = mounted("web-2", initContainerStatuses=[ended(WORKER)])
    for reasons, count in ((CONFLICT, 0), ("", 0), (f"{CONFLICT}, {MOUNT_FAILED}", 1)):
        cluster = Cluster(failed)
        collected(cluster, read_reporting({"S3MOUNT_EVENT_REASONS": reasons})).look()
        assert len(cluster.events) == count


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("REASONS", "S3CacheFull,Oops", "has no reason 'Oops'; there are S3MountFailed"),
        ("INTERVAL", "1s", "must be at least 10s"),
    ],
)
def test_wrong_settings_are_named(name: str, text: str, rule: str) -> None:
    """With the variable, its value and the rule."""
    with pytest.raises(SettingsError, match=rule):
        read_reporting({f"S3MOUNT_EVENT_{name}": text})


def test_a_real_client_writes_to_a_real_server() -> None:
    """Created, patched as a merge, and the status of a refusal."""
    path = "/api/v1/namespaces/shop/events"
    with serving() as server:
        api = ClusterApi(client.Configuration(host=server.url))
        event = {"metadata": {"name": "a.1", "namespace": "shop"}, "count": 1}
        assert api.send("POST", path, event) == 201
        assert api.send("PATCH", f"{path}/a.1", {"count": 2}) == 200
        assert api.send("PATCH", f"{path}/a.2", {"count": 2}) == 404
        assert server.objects[f"{path}/a.1"]["count"] == 2
        server.fail = 403
        assert api.send("POST", path, event) == 403


def test_no_server_is_an_error_of_the_system() -> None:
    """What waits is written later."""
    api = ClusterApi(client.Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(OSError, match="no answer"):
        api.send("POST", "/api/v1/namespaces/shop/events", {})


def test_the_process_ends_at_once_when_it_is_told_to(tmp_path: Path) -> None:
    """Also as the first of its container, and while the API server is away."""
    (tmp_path / "config").write_text(
        "{apiVersion: v1, kind: Config, current-context: x,"
        " contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}],"
        " clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    heartbeat = tmp_path / "heartbeat"
    command = [sys.executable, "-m", "webhook", "events", "--heartbeat", str(heartbeat)]
    own = {"KUBECONFIG": str(tmp_path / "config"), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL) as process:
        try:
            until(heartbeat.exists)
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
