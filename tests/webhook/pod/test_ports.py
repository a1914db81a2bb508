"""docs/policy.md, "Metrics of the mounts": which pods serve them, and where."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.errors import SettingsError
from webhook.platform.settings import read_platform
from webhook.review import admission
from webhook.review.decision import Decider, Decision, Denied, Injected

PORT = 20303
TAKEN = {"name": "app", "image": "app:1", "ports": [{"containerPort": PORT}]}


def decide(pod: dict[str, Any], **environ: str) -> Decision:
    return Decider(read_platform(environ)).decide(pod, "shop")


def injected(pod: dict[str, Any], **environ: str) -> tuple[dict[str, Any], list[str]]:
    """The pod that would run, and the reasons of the warnings about it."""
    decision = decide(pod, **environ)
    assert isinstance(decision, Injected), decision
    return admission.apply(pod, decision.patch), [each.reason for each in decision.warnings]


def worker(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = [c for c in pod["spec"]["initContainers"] if c["name"] == "s3-mount-worker"]
    return dict(found)


def test_worker_serves_on_a_port_with_a_name() -> None:
    """Prometheus finds the port by its name, and the worker is told the same number."""
    found = worker(injected(reviews.pod())[0])
    assert found["ports"] == [{"name": "s3mount-metrics", "containerPort": PORT, "protocol": "TCP"}]
    assert found["args"][-2:] == ["--metrics-port", str(PORT)]


@pytest.mark.parametrize("text", ["", "0"])
def test_platform_can_turn_them_off(text: str) -> None:
    """0 and the empty text are no metrics at all."""
    found = worker(injected(reviews.pod(), S3MOUNT_WORKER_METRICS_PORT=text)[0])
    assert "ports" not in found
    assert "--metrics-port" not in found["args"]


@pytest.mark.parametrize("text", ["80", "65536", "http", "-1"])
def test_port_must_be_one_the_worker_can_open(text: str) -> None:
    """The worker has no right to ports below 1024; the setting is refused at start."""
    with pytest.raises(SettingsError, match="S3MOUNT_WORKER_METRICS_PORT"):
        read_platform({"S3MOUNT_WORKER_METRICS_PORT": text})


@pytest.mark.parametrize("field", ["containers", "initContainers"])
def test_application_keeps_its_port(field: str) -> None:
    """Where a container declares the port the mount does without metrics, and says so."""
    others = [{"name": "other", "image": "other:1"}]
    pod = reviews.pod(**({"containers": others} | {field: [TAKEN]}))
    result, warnings = injected(pod)
    assert "ports" not in worker(result)
    assert warnings == ["no-metrics"]


def test_another_protocol_is_another_port() -> None:
    """UDP of the same number takes nothing from TCP."""
    ports = [{"containerPort": PORT, "protocol": "UDP"}, {"name": "odd"}]
    assert "ports" in worker(injected(reviews.pod(containers=[TAKEN | {"ports": ports}]))[0])


def test_nothing_is_opened_on_the_host() -> None:
    """Pods on the host's network would all want the same port of their node."""
    result, warnings = injected(reviews.pod(hostNetwork=True))
    assert "ports" not in worker(result)
    assert warnings == []


def test_second_review_stays_with_the_first_decision() -> None:
    """A pod without metrics stays without, though what was in their way is gone."""
    pod, _ = injected(reviews.pod(containers=[TAKEN]))
    del pod["spec"]["containers"][0]["ports"]
    decision = decide(pod)
    assert isinstance(decision, Injected)
    assert decision.patch == ()


def test_container_that_comes_later_may_not_take_the_port() -> None:
    """A later webhook's container with the worker's port is denied, and named."""
    pod, _ = injected(reviews.pod())
    pod["spec"]["containers"].append(TAKEN | {"name": "proxy"})
    decision = decide(pod)
    assert isinstance(decision, Denied)
    assert [each.where for each in decision.problems] == ["container proxy: ports"]
