"""What makes a container with one of our names ours, and what makes it a stranger's."""

import copy
from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform import Platform
from webhook.review import admission
from webhook.review.decision import Decider, Denied, Injected

DECIDER = Decider(Platform())
TOKEN = {"name": "token", "mountPath": "/var/run/secrets/x", "readOnly": True}


@pytest.fixture
def pod() -> dict[str, Any]:
    """A pod that was injected already."""
    decision = DECIDER.decide(reviews.pod(), "shop")
    assert isinstance(decision, Injected)
    return copy.deepcopy(admission.apply(reviews.pod(), decision.patch))


@pytest.mark.parametrize(
    "added",
    [
        {"env": [{"name": "AWS_ROLE_ARN", "value": "arn"}]},
        {"volumeMounts": [TOKEN]},
        {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"},
        {"imagePullPolicy": "Always"},
        {
            "resources": {
                "limits": {"cpu": "1", "memory": "1Gi"},
                "requests": {"cpu": "100m", "memory": "256Mi"},
            }
        },
    ],
    ids=["identity", "token", "defaults", "pull-policy", "limit-range"],
)
def test_additions_of_the_cluster_are_let_through(
    pod: dict[str, Any], added: dict[str, Any]
) -> None:
    """What API server and cloud webhooks add on the way leaves the container ours."""
    ours = pod["spec"]["initContainers"][-1]
    for key, value in added.items():
        ours[key] = [*ours.get(key, []), *value] if isinstance(value, list) else value
    decision = DECIDER.decide(pod, "shop")
    assert isinstance(decision, Injected)
    assert decision.patch == ()


@pytest.mark.parametrize(
    "change",
    [
        {"image": "evil:1"},
        {"command": ["sh"]},
        {"args": []},
        {"restartPolicy": None},
        {"lifecycle": {"postStart": {"exec": {"command": ["sh"]}}}},
        {"stdin": True},
        {"envFrom": [{"secretRef": {"name": "x"}}]},
        {"env": [{"name": "LD_PRELOAD", "value": "/evil.so"}]},
        {"volumeMounts": [{"name": "host", "mountPath": "/usr/lib"}]},
        {
            "securityContext": {
                "privileged": True,
                "runAsUser": 0,
                "runAsNonRoot": False,
                "procMount": "Unmasked",
            }
        },
    ],
    ids=lambda change: next(iter(change)),
)
def test_stranger_is_denied(pod: dict[str, Any], change: dict[str, Any]) -> None:
    """A container that would run anything of somebody else's with our rights is refused."""
    pod["spec"]["initContainers"][0].update(change)
    decision = DECIDER.decide(pod, "shop")
    assert isinstance(decision, Denied)
    assert f"differs in {next(iter(change))}" in str(decision.problems[0])


def test_second_container_of_our_name_is_denied(pod: dict[str, Any]) -> None:
    """One of ours is enough."""
    pod["spec"]["initContainers"].append(copy.deepcopy(pod["spec"]["initContainers"][0]))
    assert isinstance(DECIDER.decide(pod, "shop"), Denied)
