"""IRSA and EKS Pod Identity, whichever webhook comes first."""

import copy
from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review import admission
from webhook.review.decision import Decider, Injected

DECIDER = Decider(Platform())
DIRECTORY = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
VARIABLES = [
    {"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::123456789012:role/app"},
    {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": f"{DIRECTORY}/token"},
]
TOKEN = {"name": "aws-iam-token", "mountPath": DIRECTORY, "readOnly": True}
VOLUME = {
    "name": "aws-iam-token",
    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]},
}
NO_SECRET = {"s3.mount/bucket": "my-bucket"}


def pod(annotations: dict[str, str], **fields: Any) -> dict[str, Any]:
    app = {"name": "app", "image": "app:1", "env": VARIABLES, "volumeMounts": [TOKEN]}
    return reviews.pod(annotations, containers=[app | fields], volumes=[VOLUME])


def run(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod that would run."""
    decision = DECIDER.decide(pod, "shop")
    assert isinstance(decision, Injected), decision
    return copy.deepcopy(admission.apply(pod, decision.patch))


def sidecar(pod: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [c for c in pod["spec"]["initContainers"] if c["name"] == name]
    return dict(found)


def test_worker_gets_the_identity_that_is_there() -> None:
    """Variables and token, in the worker alone: the keeper needs none."""
    result = run(pod(NO_SECRET))
    worker, keeper = sidecar(result, "s3-mount-worker"), sidecar(result, "s3-mount-keeper")
    assert all(item in worker["env"] for item in VARIABLES)
    assert TOKEN in worker["volumeMounts"]
    assert TOKEN not in keeper["volumeMounts"]


def test_mounts_with_secrets_need_no_identity() -> None:
    """What isn't used isn't given."""
    worker = sidecar(run(pod(reviews.BUCKET)), "s3-mount-worker")
    assert TOKEN not in worker["volumeMounts"]


@pytest.mark.parametrize(
    "fields",
    [
        {"env": [VARIABLES[0], {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/tmp/token"}]},
        {"env": [{"name": "AWS_ACCESS_KEY_ID", "value": "key"}]},
        {"env": [VARIABLES[0], {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "valueFrom": {}}]},
        {"volumeMounts": [TOKEN | {"readOnly": False}]},
        {"volumeMounts": [TOKEN | {"mountPath": "/var/run/secrets-of-mine"}]},
        {"volumeMounts": [TOKEN | {"mountPath": f"{DIRECTORY}/../../../../../usr/lib"}]},
        {"volumeMounts": [TOKEN | {"name": "work"}]},
        {"volumeMounts": [TOKEN | {"subPath": "x"}]},
        {"env": [VARIABLES[0], VARIABLES[1] | {"value": f"{DIRECTORY}/../../../work/token"}]},
    ],
    ids=[
        *("elsewhere", "keys", "reference", "writable", "lookalike"),
        *("crooked", "no-token", "sub-path", "crooked-file"),
    ],
)
def test_nothing_else_is_taken(fields: dict[str, Any]) -> None:
    """Only tokens where clouds put them, and only what is written out."""
    given = pod(NO_SECRET, **fields)
    given["spec"]["volumes"].append({"name": "work", "emptyDir": {}})
    worker = sidecar(run(given), "s3-mount-worker")
    assert {item["name"] for item in worker["env"]} == {
        "S3MOUNT_CONFIG",
        "AWS_EC2_METADATA_DISABLED",
    }


def test_another_address_is_no_agent() -> None:
    """Credentials come from the agent of EKS, or not at all."""
    agent = {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.169.254/x"}
    worker = sidecar(run(pod(NO_SECRET, env=[*VARIABLES, agent])), "s3-mount-worker")
    assert agent not in worker["env"]


@pytest.mark.parametrize("names", [["s3-mount-keeper", "s3-mount-worker"], ["s3-mount-keeper"], []])
def test_identity_that_comes_later_changes_nothing_for_us(names: list[str]) -> None:
    """Given to all our containers, to some or to none: the second review finds them ours."""
    result = run(reviews.pod(NO_SECRET))
    result["spec"]["volumes"].append(VOLUME)
    for container in (*result["spec"]["initContainers"], *result["spec"]["containers"]):
        if container["name"] in ("app", *names):
            container["env"] = [*container.get("env", []), *VARIABLES]
            container["volumeMounts"] = [*container["volumeMounts"], TOKEN]
    decision = DECIDER.decide(result, "shop")
    assert isinstance(decision, Injected), decision
    assert decision.patch == ()
