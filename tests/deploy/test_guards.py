"""The guards, case by case, through the very expressions of the manifests."""

import copy
import os
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.cel import Request, denials, matches, selects
from tests.deploy.rendered import GUARDED, KUBECTL, manifests, one

IMAGE = "s3mount:0.1.0"
POD: dict[str, Any] = {
    "metadata": {"name": "app", "annotations": {"s3.mount/bucket": "data"}},
    "spec": {
        "initContainers": [
            {
                "name": "s3-mount-keeper",
                "image": IMAGE,
                "restartPolicy": "Always",
                "securityContext": {"privileged": True},
                "volumeMounts": [
                    {
                        "name": "s3-mount-bus",
                        "mountPath": "/bus",
                        "mountPropagation": "Bidirectional",
                    }
                ],
            },
            {
                "name": "s3-mount-worker",
                "image": IMAGE,
                "restartPolicy": "Always",
                "securityContext": {"allowPrivilegeEscalation": False},
            },
            {"name": "prepare", "image": "busybox"},
        ],
        "containers": [
            {
                "name": "app",
                "image": "app:1",
                "volumeMounts": [
                    {"name": "s3-mount-bus", "mountPath": "/var/s3", "subPath": "default"}
                ],
            },
            {"name": "plain", "image": "busybox"},
        ],
    },
}
KEEPER, WORKER, PREPARE = range(3)


def created(**request: Any) -> Request:
    """The creation of the pod as the webhook leaves it."""
    return Request("CREATE", copy.deepcopy(POD), **request)


def changed(change: str) -> Request:
    """The creation after a line of Python did something to the pod."""
    request = created()
    spec, meta = request.object["spec"], request.object["metadata"]
    exec(change, {"spec": spec, "meta": meta, "init": spec["initContainers"]})  # noqa: S102 - ours
    return request


def guard(name: str, request: Request) -> list[str]:
    """What one policy says."""
    return denials(one("ValidatingAdmissionPolicy", name, GUARDED), request)


PASSES = {
    "the pod as injected": "pass",
    "without annotations": "del meta['annotations'], spec['initContainers']",
    "with other annotations only": "meta['annotations'] = {'a': 'b'}; del init[:]",
    "with our status only": "meta['annotations'] = {'s3.mount/injected': '{}'}; del init[:]",
    "a named mount": "meta['annotations'] = {'s3.mount/bucket.models': 'm'}",
    "a static pod": "meta['annotations']['kubernetes.io/config.mirror'] = 'x'; del init[:]",
    "a mesh proxy in front": "init.insert(0, {'name': 'istio-proxy', 'image': 'i'})",
    "propagation from the host": (
        "spec['containers'][0]['volumeMounts'][0]['mountPropagation'] = 'HostToContainer'"
    ),
    "a privileged container of its own": "init[2]['securityContext'] = {'privileged': True}",
}
REFUSED = {
    "no init containers at all": ("del spec['initContainers']", "doesn't have the init"),
    "the keeper removed": ("del init[0]", "doesn't have the init"),
    "the worker removed": ("del init[1]", "doesn't have the init"),
    "the worker first": ("init.insert(0, init.pop(1))", "doesn't have the init"),
    "the keeper twice": ("init.insert(0, init[0])", "doesn't have the init"),
    "of a named mount removed": (
        "meta['annotations'] = {'s3.mount/bucket.models': 'm'}; del init[:]",
        "doesn't have the init",
    ),
    "a keeper among the containers": (
        "spec['containers'].append(init[0])",
        "reserved for init containers",
    ),
    "the keeper's image": ("init[0]['image'] = 'evil'", f"the image {IMAGE}; found evil, {IMAGE}"),
    "the worker's image": ("init[1]['image'] = 'evil'", f"found {IMAGE}, evil"),
    "another tag": ("init[0]['image'] += '1'", "must run the image"),
    "a keeper that runs once": ("del init[0]['restartPolicy']", "restartPolicy Always"),
    "a worker that runs once": ("init[1]['restartPolicy'] = 'Never'", "restartPolicy Always"),
    "a privileged worker": (
        "init[1]['securityContext'] = {'privileged': True}",
        "must be unprivileged",
    ),
    "a worker that may escalate": ("del init[1]['securityContext']", "must be unprivileged"),
    "Bidirectional in the application": (
        "spec['containers'][0]['volumeMounts'][0]['mountPropagation'] = 'Bidirectional'",
        "mountPropagation Bidirectional",
    ),
    "Bidirectional in the worker": (
        "init[1]['volumeMounts'] = init[0]['volumeMounts']",
        "mountPropagation Bidirectional",
    ),
    "Bidirectional in an init container": (
        "init[2]['volumeMounts'] = init[0]['volumeMounts']",
        "mountPropagation Bidirectional",
    ),
}


@pytest.mark.parametrize("change", PASSES.values(), ids=PASSES.keys())
def test_a_created_pod_passes(change):
    """What the webhook makes, what it leaves alone, and what others may add."""
    assert guard("s3mount-created-pods", changed(change)) == []


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_created_pod_is_refused(change, message):
    """Exactly one rule speaks up, or the last word of several is the expected one."""
    found = guard("s3mount-created-pods", changed(change))
    assert any(message in text for text in found), found


@pytest.mark.parametrize(
    "elsewhere",
    [{"labels": {}}, {"namespace": "kube-system"}, {"namespace": "s3mount-system"}],
    ids=str,
)
def test_namespaces_that_the_webhook_is_not_asked_about_are_left_alone(elsewhere):
    """The guard selects as the webhook does."""
    request = created(**elsewhere)
    del request.object["spec"]["initContainers"]
    assert guard("s3mount-created-pods", request) == []
    (webhook,) = one("MutatingWebhookConfiguration", "mount-s3-injector")["webhooks"]
    assert not selects(webhook["namespaceSelector"], request)


def updated(index: int, image: str, **request: Any) -> Request:
    """An update that gives one of the pod's init containers an image."""
    new = copy.deepcopy(POD)
    new["spec"]["initContainers"][index]["image"] = image
    return Request("UPDATE", new, copy.deepcopy(POD), **request)


@pytest.mark.parametrize("index", [KEEPER, WORKER])
@pytest.mark.parametrize("labels", [{}, {"s3.mount/injection": "enabled"}], ids=str)
@pytest.mark.parametrize("groups", [("system:masters",), ("system:authenticated",)], ids=str)
def test_the_image_of_a_running_sidecar_stays(index, labels, groups):
    """For everybody, and also after somebody took the label off the namespace."""
    request = updated(index, "evil", labels=labels, groups=groups)
    (message,) = guard("s3mount-live-pods", request)
    assert "can't be changed in a running pod" in message


@pytest.mark.parametrize("image", ["busybox:2", IMAGE])
def test_the_image_of_a_users_container_may_change(image):
    """Kubernetes allows it, so do we."""
    assert guard("s3mount-live-pods", updated(PREPARE, image)) == []


def test_an_update_that_changes_no_image_passes():
    """Labels, status and finalizers of running pods change all the time."""
    assert guard("s3mount-live-pods", updated(KEEPER, IMAGE)) == []
    plain: dict[str, Any] = {"metadata": {"name": "x"}, "spec": {"containers": []}}
    assert guard("s3mount-live-pods", Request("UPDATE", plain, plain)) == []


def connect(container: str | None, resource: str, *groups: str) -> Request:
    """An exec or attach."""
    options = {"command": ["sh"]} | ({"container": container} if container else {})
    return Request("CONNECT", options, resource=resource, groups=groups, labels={})


def debug(target: str | None, *groups: str, before: str | None = None) -> Request:
    """An ephemeral container added to the pod, perhaps with one there already."""
    old = copy.deepcopy(POD)
    if before:
        old["spec"]["ephemeralContainers"] = [{"name": "old", "targetContainerName": before}]
    new = copy.deepcopy(old)
    added = {"name": "new"} | ({"targetContainerName": target} if target else {})
    new["spec"].setdefault("ephemeralContainers", []).append(added)
    return Request("UPDATE", new, old, resource="pods/ephemeralcontainers", groups=groups)


ANYBODY = ("system:authenticated", "s3mount:debugger", "debuggers")


@pytest.mark.parametrize("resource", ["pods/exec", "pods/attach"])
def test_nobody_gets_a_shell_in_the_keeper_but_the_listed_groups(resource):
    """In no namespace, label or not."""
    (message,) = guard("s3mount-debug", connect("s3-mount-keeper", resource, *ANYBODY))
    assert "only members of system:masters, s3mount:debuggers may exec into it" in message
    assert guard("s3mount-debug", connect("s3-mount-keeper", resource)) != []
    for group in ("system:masters", "s3mount:debuggers"):
        request = connect("s3-mount-keeper", resource, "system:authenticated", group)
        assert guard("s3mount-debug", request) == []


@pytest.mark.parametrize("container", [None, "app", "s3-mount-worker", "s3-mount-keeper-2"])
@pytest.mark.parametrize("resource", ["pods/exec", "pods/attach"])
def test_other_containers_are_open_to_whoever_rbac_lets_in(container, resource):
    """The worker has no privilege that the application hasn't."""
    assert guard("s3mount-debug", connect(container, resource, *ANYBODY)) == []


def test_an_ephemeral_container_may_not_target_the_keeper():
    """It would share the keeper's processes."""
    assert len(guard("s3mount-debug", debug("s3-mount-keeper", *ANYBODY))) == 1
    assert guard("s3mount-debug", debug("s3-mount-keeper", "s3mount:debuggers")) == []


@pytest.mark.parametrize("target", [None, "app", "s3-mount-worker"])
def test_an_ephemeral_container_may_target_others(target):
    """Also in a pod where a debugger's one is still listed."""
    assert guard("s3mount-debug", debug(target, *ANYBODY)) == []
    assert guard("s3mount-debug", debug(target, *ANYBODY, before="s3-mount-keeper")) == []


@pytest.mark.parametrize("user", [None, ["a"]])
def test_a_request_without_groups_is_refused_not_failed(user):
    """An expression that failed would refuse too, with a text that helps nobody."""
    request = connect("s3-mount-keeper", "pods/exec", *(user or []))
    assert "may exec into it" in guard("s3mount-debug", request)[0]


SENT = {
    "s3.mount/bucket": True,
    "s3.mount/bucket.models": True,
    "s3.mount/buket": True,
    "s3.mount/injected": True,
    "s3.mountain/bucket": False,
    "x-s3.mount/bucket": False,
    "app": False,
}


@pytest.mark.parametrize(("key", "sent"), SENT.items())
def test_the_webhook_is_asked_about_every_key_of_ours(key, sent):
    """Misspelt ones included; and about no other pod."""
    (webhook,) = one("MutatingWebhookConfiguration", "mount-s3-injector")["webhooks"]
    pod = {"metadata": {"annotations": {"other": "x", key: ""}}}
    assert matches(webhook["matchConditions"], Request("CREATE", pod)) is sent


def test_a_pod_without_annotations_is_not_sent():
    """No annotations at all is no error either."""
    (webhook,) = one("MutatingWebhookConfiguration", "mount-s3-injector")["webhooks"]
    assert not matches(webhook["matchConditions"], Request("CREATE", {"metadata": {}}))


def test_every_policy_is_bound_and_denies():
    """A policy without binding does nothing."""
    found = manifests(GUARDED)
    policies = {m["metadata"]["name"] for m in found if m["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [m["spec"] for m in found if m["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert {b["policyName"] for b in bindings} == policies
    assert all(b["validationActions"] == ["Deny"] for b in bindings)
    assert len(policies) == 3


@pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="no API server is configured")
def test_a_real_api_server_accepts_the_expressions():
    """Its compiler and type checker, by a dry run: a test must not change anybody's cluster."""
    kinds = ("ValidatingAdmissionPolicy", "MutatingWebhookConfiguration")
    wanted = [m for m in manifests(GUARDED) if m["kind"] in kinds]
    command = [KUBECTL, "apply", "--dry-run=server", "--validate=strict", "-f", "-"]
    done = subprocess.run(
        command, input=yaml.safe_dump_all(wanted), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
