"""Which mounts share the cache of a node."""

import json
from typing import Any

import pytest

from tests.webhook import reviews
from webhook.errors import PolicyFileError
from webhook.platform.nodekey import NodeKey, SignedVolume, bound_to
from webhook.platform.settings import Platform, read_platform
from webhook.pods import Pod
from webhook.policy.file import parse_policy
from webhook.review import admission
from webhook.review.decision import Decider, Injected

SHARING = Platform(keeper="node", cache="node")
KEY = NodeKey("k" * 32)
RULE = {"name": "team", "namespaces": ["team"], "buckets": ["*"]}
KEYS = {**reviews.BUCKET, "s3.mount/secret": "keys"}


def injected(pod: Pod, platform: Platform = SHARING) -> Pod:
    """The pod as it would run."""
    decision = Decider(platform, node_key=KEY).decide(pod, "team")
    assert isinstance(decision, Injected), decision
    return admission.apply(pod, decision.patch)


def attributes(pod: Pod) -> dict[str, str]:
    """The attributes of the only volume of the driver."""
    (csi,) = [volume["csi"] for volume in pod["spec"]["volumes"] if "csi" in volume]
    found: dict[str, str] = csi["volumeAttributes"]
    return found


def told_worker(pod: Pod) -> Any:
    """What the worker is told of the node's cache."""
    (worker,) = pod["spec"]["initContainers"]
    (mount,) = json.loads(worker["env"][0]["value"])["mounts"]
    return mount.get("nodeCache")


def shared(annotations: dict[str, str] = KEYS, **spec: Any) -> str | None:
    """What the mount of a pod has in common with those that it shares with."""
    return attributes(injected(reviews.pod(annotations, **spec))).get("cache")


def test_a_mount_that_shares_says_so_to_plugin_and_worker() -> None:
    """The token covers it: it can't be changed, added or taken away."""
    pod = injected(reviews.pod(KEYS))
    found, common = attributes(pod), shared()
    bound = bound_to(pod["metadata"]["name"], "")
    told = ("team", "default", bound, found["nonce"], "default", False)
    token = KEY.token(SignedVolume(*told, common))
    assert found == {
        "mount": "default",
        "nonce": found["nonce"],
        "cache": common,
        "token": token,
    }
    assert told_worker(pod) == "/run/s3mount/cache-default.sock"
    assert token != KEY.token(SignedVolume(*told))


@pytest.mark.parametrize(
    "platform",
    [Platform(keeper="node"), Platform(keeper="pod", cache="node")],
    ids=["not asked for", "pod mode"],
)
def test_otherwise_nothing_is_shared(platform: Platform) -> None:
    """It is for node mode, and has to be chosen."""
    pod = injected(reviews.pod(KEYS), platform)
    assert "nodeCache" not in str(pod)
    assert all(
        "cache" not in v["csi"]["volumeAttributes"] for v in pod["spec"]["volumes"] if "csi" in v
    )


@pytest.mark.parametrize("key", ["shareProcessNamespace", "hostPID"])
def test_a_pod_whose_processes_see_each_other_shares_nothing(key: str) -> None:
    """Another container of its worker's user could make the worker lie to others."""
    pod = injected(reviews.pod(KEYS, **{key: True}))
    assert "cache" not in attributes(pod)
    assert told_worker(pod) is None


@pytest.mark.parametrize(
    "other",
    [
        {**KEYS, "s3.mount/bucket": "other"},
        {**KEYS, "s3.mount/secret": "other"},
        {**KEYS, "s3.mount/endpoint": "https://s3.example.com"},
        {**KEYS, "s3.mount/region": "eu-central-1"},
        {**KEYS, "s3.mount/options": "retries=3"},
        reviews.BUCKET,
    ],
    ids=["bucket", "secret", "endpoint", "region", "options", "identity"],
)
def test_mounts_share_what_they_get_from_the_same_place(other: dict[str, str]) -> None:
    """The same bucket of the same store with the same credentials."""
    assert shared(other) not in (shared(), None)


def test_mounts_share_wherever_they_are_in_a_pod() -> None:
    """Path, prefix, access and owner are a mount's own."""
    other = {
        **KEYS,
        "s3.mount/path": "/data",
        "s3.mount/prefix": "a/",
        "s3.mount/read-only": "true",
        "s3.mount/uid": "7",
        "s3.mount/cache-size": "2Gi",
    }
    assert shared(other) == shared()


@pytest.mark.parametrize(
    "spec",
    [
        {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["s3.example.com"]}]},
        {"dnsConfig": {"nameservers": ["10.0.0.1"]}},
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}},
    ],
    ids=["aliases", "servers", "policy"],
)
def test_who_resolves_names_otherwise_shares_nothing_with_others(spec: dict[str, Any]) -> None:
    """He may have led the store's name to a server of his own."""
    assert shared(**spec) not in (shared(), None)


def test_a_policy_rule_chooses() -> None:
    """For its namespaces, whatever the setting is."""
    policy = parse_policy(str({"rules": [{**RULE, "keeper": "node", "cache": "node"}]}), "policy")
    decider = Decider(read_platform({"S3MOUNT_KEEPER": "node"}), lambda: policy, node_key=KEY)
    for namespace, expected in (("team", True), ("else", False)):
        decision = decider.decide(reviews.pod(KEYS), namespace)
        assert isinstance(decision, Injected)
        assert (
            "cache" in attributes(admission.apply(reviews.pod(KEYS), decision.patch))
        ) is expected


def test_a_rule_cannot_ask_for_it_in_pod_mode() -> None:
    """There is nobody to keep it."""
    rule = {**RULE, "keeper": "pod", "cache": "node"}
    with pytest.raises(PolicyFileError, match=r"rules\[0\].cache needs keeper: node"):
        parse_policy(str({"rules": [rule]}), "policy")
