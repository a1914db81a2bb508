"""docs/platforms.md, "Service meshes": proxies that come up too late for the mount are told."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review.decision import Decider, Denied, Injected
from webhook.spec.annotations import DOMAIN

PROXIES = {"istio": "istio-proxy", "linkerd": "linkerd-proxy"}
VALIDATORS = {"istio": "istio-validation", "linkerd": "linkerd-network-validator"}
REDIRECTORS = {"istio": "istio-init", "linkerd": "linkerd-init"}
PORTS = {
    "istio": "traffic.sidecar.istio.io/excludeOutboundPorts",
    "linkerd": "config.linkerd.io/skip-outbound-ports",
}


def decide(init: list[dict[str, Any]], proxies: list[str], **annotations: str) -> Any:
    """The decision on a pod with these containers beside its own."""
    ours = {DOMAIN + key: value for key, value in annotations.items() if "/" not in key}
    theirs = {key: value for key, value in annotations.items() if "/" in key}
    containers = [{"name": "app"}, *({"name": name} for name in proxies)]
    pod = reviews.pod(reviews.BUCKET | ours | theirs, containers=containers, initContainers=init)
    return Decider(Platform()).decide(pod, "shop")


@pytest.mark.parametrize("mesh", PROXIES)
def test_a_classic_proxy_behind_a_cni_plugin_is_denied(mesh: str) -> None:
    """With the reason, and with both ways out: a native sidecar, or the mesh's own annotation."""
    decision = decide([{"name": VALIDATORS[mesh]}], [PROXIES[mesh]])
    assert isinstance(decision, Denied)
    (problem,) = decision.problems
    assert "redirects the mount's traffic" in problem.rule
    assert "ative" in problem.remedy
    assert f'{PORTS[mesh]}: "443"' in problem.remedy


@pytest.mark.parametrize("mesh", PROXIES)
def test_what_the_mesh_leaves_alone_is_fine(mesh: str) -> None:
    """The ports that the mounts need, among others."""
    init = [{"name": VALIDATORS[mesh]}]
    for value, fine in (
        ("5432, 443", True),
        ("80", False),
        ("", False),
        ("x, 443", True),
        ("443-", False),
    ):
        decision = decide(init, [PROXIES[mesh]], **{PORTS[mesh]: value})
        assert isinstance(decision, Injected) is fine, value


def test_the_port_is_that_of_the_endpoint() -> None:
    """And 443 as well where the pod's own identity is asked for at AWS."""
    init, proxies = [{"name": "istio-validation"}], ["istio-proxy"]
    store = {"endpoint": "https://minio.example:9000"}
    port = {PORTS["istio"]: "9000"}
    assert isinstance(decide(init, proxies, **store, **port), Injected)
    assert isinstance(decide(init, proxies, **store, **port, secret="none"), Denied)


def test_linkerd_knows_ranges() -> None:
    """`skip-outbound-ports` takes them."""
    init = [{"name": "linkerd-network-validator"}]
    skipped = {PORTS["linkerd"]: "25,400-500"}
    assert isinstance(decide(init, ["linkerd-proxy"], **skipped), Injected)


@pytest.mark.parametrize("mesh", PROXIES)
def test_other_ways_of_a_mesh_need_nothing(mesh: str) -> None:
    """A native proxy, redirection by an init container, and an ambient mesh, which has no proxy."""
    native = {"name": PROXIES[mesh], "restartPolicy": "Always"}
    assert isinstance(decide([{"name": VALIDATORS[mesh]}, native], []), Injected)
    assert isinstance(decide([{"name": REDIRECTORS[mesh]}], [PROXIES[mesh]]), Injected)
    ambient = {"istio.io/dataplane-mode": "ambient"}
    assert isinstance(decide([], [], **ambient), Injected)
