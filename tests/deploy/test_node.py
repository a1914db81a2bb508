"""Node mode as it is installed, and what the guards say of its pods."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from fusefs.node import publication, socketvolume
from fusefs.node.settings import KUBELET, NAME
from tests.deploy.cel import Request
from tests.deploy.guards import IMAGE, guards
from tests.deploy.rendered import one
from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.pod import containers
from webhook.review import admission
from webhook.review.decision import Decider, Injected
from webhook.serve.settings import read_settings

OVERLAY = "overlays/node"


def injected() -> dict[str, Any]:
    """A pod with two mounts, as the webhook leaves it in node mode."""
    pod = reviews.pod(
        {**reviews.BUCKET, "s3.mount/bucket.models": "models", "s3.mount/path.models": "/models"},
        containers=[{"name": "app", "image": "app:1"}],
    )
    decision = Decider(Platform(keeper="node", image=IMAGE)).decide(pod, "shop")
    assert isinstance(decision, Injected), decision
    return admission.apply(pod, decision.patch)


POD = injected()


def said(change: str = "pass", **more: Any) -> list[str]:
    """What the guards say after a line of Python did something to the pod."""
    pod = copy.deepcopy(POD)
    spec = pod["spec"]
    names = {volume["name"]: volume for volume in spec["volumes"]}
    exec(  # noqa: S102 - ours
        change,
        {"spec": spec, "meta": pod["metadata"], "volumes": names, "init": spec["initContainers"]},
    )
    return guards(Request("CREATE", pod, params={"data": {"one": IMAGE}}, **more))


def test_what_the_webhook_injects_passes_the_guards() -> None:
    """And it is there: the worker alone, and a volume for each mount."""
    assert [c["name"] for c in POD["spec"]["initContainers"]] == ["s3-mount-worker"]
    names = [volume["name"] for volume in POD["spec"]["volumes"] if "csi" in volume]
    assert names == ["s3-mount-bucket-default", "s3-mount-bucket-models"]
    assert said() == []


def test_what_shares_a_cache_passes_the_guards() -> None:
    """The volume says so by one more attribute."""
    change = "volumes['s3-mount-bucket-models']['csi']['volumeAttributes']['cache'] = 'x'"
    assert said(change) == []


REFUSED = {
    "no worker": ("init.clear()", "doesn't have the init containers s3-mount-worker"),
    "a keeper too": (
        "init.insert(0, {**init[0], 'name': 's3-mount-keeper'})",
        "doesn't have the init containers s3-mount-worker",
    ),
    "another image": ("init[0]['image'] = 'evil'", "must run an image"),
    "a privileged worker": (
        "init[0]['securityContext']['privileged'] = True",
        "must be unprivileged",
    ),
    "the bucket in the worker": (
        "init[0]['volumeMounts'].append({'name': 's3-mount-bucket-default', 'mountPath': '/x'})",
        "only the webhook says what is mounted",
    ),
    "a mount that nobody asked for": (
        "del meta['annotations']['s3.mount/bucket.models']",
        "for the mounts that its annotations ask for",
    ),
    "a mount without its volume": (
        "spec['volumes'].remove(volumes['s3-mount-bucket-models'])",
        "for the mounts that its annotations ask for",
    ),
    "another mount's name": (
        "volumes['s3-mount-bucket-models']['csi']['volumeAttributes']['mount'] = 'default'",
        "for the mounts that its annotations ask for",
    ),
    "a name of one's own": (
        "volumes['s3-mount-bucket-models']['name'] = 'mine'",
        "for the mounts that its annotations ask for",
    ),
    "a further attribute": (
        "volumes['s3-mount-bucket-models']['csi']['volumeAttributes']['bucket'] = 'x'",
        "for the mounts that its annotations ask for",
    ),
    "a secret for the driver": (
        "volumes['s3-mount-bucket-models']['csi']['nodePublishSecretRef'] = {'name': 'x'}",
        "for the mounts that its annotations ask for",
    ),
    "no annotation at all": ("meta['annotations'].clear()", "only the webhook of s3mount may"),
    "another driver's volume with our name": (
        "volumes['s3-mount-bucket-models']['csi']['driver'] = 'other'",
        "volumes whose names begin with s3-mount- are the webhook's",
    ),
    "a part of the bucket": (
        "spec['containers'][0]['volumeMounts'][0]['subPath'] = 'x'",
        "by annotation only",
    ),
    "the socket": (
        "spec['containers'][0]['volumeMounts'][0]['name'] = 's3-mount-socket'",
        "by annotation only",
    ),
    "a socket volume of another kind": (
        "volumes['s3-mount-socket'].update(hostPath=volumes['s3-mount-socket'].pop('emptyDir'))",
        "volumes whose names begin with s3-mount- are the webhook's",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_pod_of_node_mode_is_refused(change: str, message: str) -> None:
    """Whoever uses the driver has exactly our worker and exactly the annotations' mounts."""
    found = said(change)
    assert any(message in text for text in found), found


@pytest.mark.parametrize("labels", [{}, {"s3.mount/injection": "disabled"}], ids=str)
def test_the_driver_is_of_use_in_labelled_namespaces_only(labels: dict[str, str]) -> None:
    """Elsewhere nobody asks the webhook, so nobody can have written the volume but a person."""
    for change in ("pass", "init.clear(); volumes['s3-mount-socket']['name'] = 'mine'"):
        found = said(change, labels=labels)
        assert any("label the namespace" in text for text in found), found


def test_a_pod_of_pod_mode_may_have_volumes_of_other_drivers() -> None:
    """Only ours is looked at."""
    from tests.deploy.guards import changed

    change = "spec['volumes'].append({'name': 'x', 'csi': {'driver': 'secrets-store.csi.k8s.io'}})"
    assert guards(changed(change)) == []


def test_the_driver_object_is_what_the_plugin_relies_on() -> None:
    """Inline volumes with pod info, for every level of Pod Security; nothing is attached."""
    driver = one("CSIDriver", NAME, OVERLAY)
    label = "security.kubernetes.io/csi-ephemeral-volume-profile"
    assert driver["metadata"]["labels"][label] == "restricted"
    spec = driver["spec"]
    assert spec["volumeLifecycleModes"] == ["Ephemeral"]
    assert spec["podInfoOnMount"] is True
    assert spec["fsGroupPolicy"] == "None"
    assert not spec["attachRequired"] and not spec["requiresRepublish"]


def test_the_plugin_has_its_directories_the_key_and_no_token() -> None:
    """The same paths in the container as on the node; mounts reach the kubelet."""
    pod = one("DaemonSet", "s3mount-node", OVERLAY)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    paths = {v["name"]: v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v}
    assert paths == {
        "pods": f"{KUBELET}/pods",
        "plugin": f"{KUBELET}/plugins/{NAME}",
        "registration": f"{KUBELET}/plugins_registry",
    }
    assert {name: mounts[name]["mountPath"] for name in paths} == paths
    assert mounts["pods"]["mountPropagation"] == "Bidirectional"
    assert container["command"] + container["args"][:1] == [
        *("python", "-m", "fusefs", "node"),
        f"--kubelet-directory={KUBELET}",
    ]
    assert pod["automountServiceAccountToken"] is False
    assert container["image"] == IMAGE
    assert not pod.get("hostNetwork") and not pod.get("hostPID")


def test_the_daemonset_selects_its_own_pods() -> None:
    """And so does its NetworkPolicy; neither selects the webhook."""
    spec = one("DaemonSet", "s3mount-node", OVERLAY)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    webhook = one("Deployment", "s3mount-webhook", OVERLAY)["spec"]["template"]["metadata"]
    policy = one("NetworkPolicy", "s3mount-node", OVERLAY)["spec"]["podSelector"]
    for selector in (spec["selector"], policy):
        wanted = selector["matchLabels"].items()
        assert wanted <= labels.items()
        assert not wanted <= webhook["labels"].items()


def test_webhook_and_plugins_share_one_key() -> None:
    """One Secret, and the webhook signs with it because it is told to."""
    plugin = one("DaemonSet", "s3mount-node", OVERLAY)["spec"]["template"]["spec"]
    webhook = one("Deployment", "s3mount-webhook", OVERLAY)["spec"]["template"]["spec"]
    for pod in (plugin, webhook):
        secrets = [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
        assert secrets == ["s3mount-node-key"]
    (container,) = webhook["containers"]
    environ = {each["name"]: each.get("value", "") for each in container["env"]}
    serving, platform = read_settings(environ)
    assert platform.by_node
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(serving.node_key_file) == mounts["node-key"] + "/key"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: publication.VOLUME, lambda: f"{containers.BUCKET}-"),
        (lambda: socketvolume.VOLUME, lambda: containers.SOCKET),
        (lambda: NAME, lambda: containers.DRIVER),
    ],
    ids=["volume", "socket", "driver"],
)
def test_webhook_and_plugin_say_the_same(
    ours: Callable[[], str], theirs: Callable[[], str]
) -> None:
    """Names that both packages have, which don't import each other."""
    assert ours() == theirs()
