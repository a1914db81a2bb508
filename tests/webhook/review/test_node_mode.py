"""Who makes a pod's mounts: its own keeper, or the node's plugin."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.errors import PolicyFileError, SettingsError
from webhook.platform.nodekey import NodeKey, SignedVolume, bound_to
from webhook.platform.settings import Platform, read_platform
from webhook.pods import Pod
from webhook.policy.file import parse_policy
from webhook.review import admission
from webhook.review.decision import Decider, Denied, Injected
from webhook.review.lookup import FixedFacts
from webhook.serve import replica
from webhook.serve.settings import read_settings

NODE = Platform(keeper="node")
KEY = NodeKey("k" * 32)
RULE = {"name": "team", "namespaces": ["team"], "buckets": ["*"]}


def injected(decider: Decider, pod: Pod, namespace: str = "team") -> Pod:
    """The pod as it would run."""
    decision = decider.decide(pod, namespace)
    assert isinstance(decision, Injected), decision
    return admission.apply(pod, decision.patch)


def attributes(pod: Pod) -> dict[str, dict[str, str]]:
    """The attributes of each volume of the driver, by its mount."""
    volumes = [volume["csi"] for volume in pod["spec"]["volumes"] if "csi" in volume]
    return {csi["volumeAttributes"]["mount"]: csi["volumeAttributes"] for csi in volumes}


def token(pod: Pod, account: str, bound: str, *, read_only: bool) -> str:
    """What the plugin computes from what the kubelet tells it and the pod's nonce."""
    nonce = attributes(pod)["default"]["nonce"]
    return KEY.token(SignedVolume("team", account, bound, nonce, "default", read_only))


def test_a_token_is_for_namespace_account_pod_mount_and_access() -> None:
    """The pod by its name, or by what its generated name begins with."""
    decider = Decider(NODE, node_key=KEY)
    asked = {**reviews.BUCKET, "s3.mount/read-only": "true"}
    pod = injected(decider, reviews.pod(asked, serviceAccountName="web"))
    name = pod["metadata"]["name"]
    expected = token(pod, "web", bound_to(name, ""), read_only=True)
    assert attributes(pod)["default"]["token"] == expected
    unnamed = reviews.pod(reviews.BUCKET)
    unnamed["metadata"] = {**unnamed["metadata"], "name": "", "generateName": "web-7d9-"}
    pod = injected(decider, unnamed)
    expected = token(pod, "default", bound_to("", "web-7d9-"), read_only=False)
    assert attributes(pod)["default"]["token"] == expected


def test_each_pod_has_another_nonce() -> None:
    """All mounts of one pod have the same."""
    decider = Decider(NODE, node_key=KEY)
    more = {"s3.mount/bucket.models": "models", "s3.mount/path.models": "/models"}
    pods = [injected(decider, reviews.pod({**reviews.BUCKET, **more})) for _ in range(2)]
    nonces = [{each["nonce"] for each in attributes(pod).values()} for pod in pods]
    assert [len(each) for each in nonces] == [1, 1]
    assert nonces[0] != nonces[1]


def test_every_volume_that_is_mounted_is_there() -> None:
    """What both modes have in common mounts nothing of pod mode's."""
    spec = injected(Decider(NODE), reviews.pod({**reviews.BUCKET, "s3.mount/secret": "keys"}))[
        "spec"
    ]
    containers = [*spec["containers"], *spec["initContainers"]]
    used = {mount["name"] for each in containers for mount in each["volumeMounts"]}
    assert used == {volume["name"] for volume in spec["volumes"]}


def test_a_second_review_changes_nothing() -> None:
    """A pod that has a nonce of ours keeps it."""
    decider = Decider(NODE, node_key=KEY)
    pod = injected(decider, reviews.pod(reviews.BUCKET))
    decision = decider.decide(pod, "team")
    assert isinstance(decision, Injected)
    assert decision.patch == ()


def test_a_copied_volume_is_replaced() -> None:
    """A volume of ours is reset as a whole, whatever somebody wrote into it."""
    decider = Decider(NODE, node_key=KEY)
    original = injected(decider, reviews.pod(reviews.BUCKET))
    copy = {**original, "metadata": {**original["metadata"], "name": "copy"}}
    copied = injected(decider, copy)
    given = attributes(copied)["default"]
    assert given["nonce"] != attributes(original)["default"]["nonce"]
    assert given["token"] == token(copied, "default", bound_to("copy", ""), read_only=False)


@pytest.mark.parametrize(
    "wrong",
    [None, "text", {"token": "copied"}, {"mount": "default", "nonce": ["x"]}, {"mount": {}}],
    ids=repr,
)
def test_whatever_is_in_a_volume_is_replaced(wrong: object) -> None:
    """A pod may bring anything along."""
    decider = Decider(NODE, node_key=KEY)
    pod = injected(decider, reviews.pod(reviews.BUCKET))
    pod["spec"]["volumes"][0]["csi"]["volumeAttributes"] = wrong
    given = attributes(injected(decider, pod))["default"]
    assert given.keys() == {"mount", "nonce", "token"}


def test_without_a_key_there_is_no_node_mode() -> None:
    """A policy rule may ask for it where the webhook wasn't given one."""
    policy = parse_policy(str({"rules": [{**RULE, "keeper": "node"}]}), "policy")
    decision = Decider(Platform(), lambda: policy, node_key=None).decide(reviews.pod(), "team")
    assert isinstance(decision, Denied)
    assert "S3MOUNT_NODE_KEY_FILE" in str(decision.problems[0])


@pytest.mark.parametrize(("keeper", "sidecars"), [("node", 1), ("pod", 2)])
def test_a_policy_rule_says_who_mounts(keeper: str, sidecars: int) -> None:
    """For its namespaces, whatever the platform's setting is."""
    other = "pod" if keeper == "node" else "node"
    policy = parse_policy(str({"rules": [{**RULE, "keeper": keeper}]}), "policy")
    decider = Decider(read_platform({"S3MOUNT_KEEPER": other}), lambda: policy)
    assert len(injected(decider, reviews.pod())["spec"]["initContainers"]) == sidecars
    assert len(injected(decider, reviews.pod(), "else")["spec"]["initContainers"]) != sidecars


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_pod_security_stands_in_nobodys_way(level: str) -> None:
    """No container is privileged, so the namespace's level is no reason to refuse."""
    labels = FixedFacts({"pod-security.kubernetes.io/enforce": level})
    pod = injected(Decider(NODE, lookup=labels), reviews.pod())
    (worker,) = pod["spec"]["initContainers"]
    assert worker["securityContext"]["privileged"] is False
    assert isinstance(Decider(Platform(), lookup=labels).decide(reviews.pod(), "team"), Denied)


def test_the_whole_pods_resources_are_the_workers() -> None:
    """There is no keeper to leave some for."""
    whole: dict[str, Any] = {"requests": {"cpu": "5m", "memory": "64Mi"}}
    (worker,) = injected(Decider(NODE), reviews.pod(resources=whole))["spec"]["initContainers"]
    assert worker["resources"]["requests"]["cpu"] == "5m"
    assert worker["resources"]["requests"]["memory"] == "64Mi"


def test_a_wrong_keeper_is_refused() -> None:
    """In the setting and in the policy."""
    with pytest.raises(SettingsError, match=r"S3MOUNT_KEEPER=.host.: must be pod or node"):
        read_platform({"S3MOUNT_KEEPER": "host"})
    with pytest.raises(PolicyFileError, match=r"rules\[0\].keeper must be one of: pod, node"):
        parse_policy(str({"rules": [{**RULE, "keeper": "host"}]}), "policy")


def test_the_server_does_not_start_without_its_key() -> None:
    """It would deny every pod."""
    with pytest.raises(SettingsError, match="S3MOUNT_NODE_KEY_FILE is needed"):
        replica.run(*read_settings({"S3MOUNT_KEEPER": "node", "S3MOUNT_METRICS_PORT": "0"}))
