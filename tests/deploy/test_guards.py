"""The guards, case by case, through the very expressions of the manifests."""

import copy
import os
import re
import subprocess
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.deploy.cel import Request, matches, selects
from tests.deploy.guards import IMAGE, KEEPER, POD, PREPARE, WORKER, changed, created, guard, guards
from tests.deploy.rendered import GUARDED, KUBECTL, manifests, one
from tests.webhook import neighbours
from webhook.pod.additions import TOKEN_DIRECTORIES, VARIABLES

PASSES = {
    "the pod as injected": "pass",
    "without annotations": "del meta['annotations'], spec['initContainers'], spec['volumes']",
    "with other annotations only": "meta['annotations'] = {'a': 'b'}; del init[:]",
    "with our status only": "meta['annotations'] = {'s3.mount/injected': '{}'}; del init[:]",
    "a named mount": "meta['annotations'] = {'s3.mount/bucket.models': 'm'}",
    "a static pod": "meta['annotations']['kubernetes.io/config.mirror'] = 'x'; del init[:]",
    "a mesh proxy in front": "init.insert(0, {'name': 'istio-proxy', 'image': 'i'})",
    "propagation from the host": (
        "spec['containers'][0]['volumeMounts'][0]['mountPropagation'] = 'HostToContainer'"
    ),
    "a named Secret": "spec['volumes'][-1]['name'] += '-models'; init[1]['volumeMounts'].pop()",
    "a liveness probe": "init[1]['livenessProbe'] = init[1]['startupProbe']",
    "no metrics": "init[1]['args'] = ['worker', '--drain-time', '24h']; del init[1]['ports']",
    "the volume of 0.1.0": "spec['volumes'][0]['emptyDir'] = {}",
    "the probe of 0.1.0": (
        "init[0]['startupProbe']['exec']['command'] = 'python -m fusefs probe --keeper'.split()"
    ),
    "the API server's token, as 0.1.0": (
        "[m.update(name='kube-api-access-x') for c in init[:2] for m in c['volumeMounts']"
        " if 'no-token' in m['name']];"
        "spec['volumes'].append({'name': 'kube-api-access-x', 'projected': {'sources': []}})"
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
    "the keeper's image": (
        "init[0]['image'] = 'evil'",
        f"AnnouncedImages s3mount-images: {IMAGE}; found evil, {IMAGE}",
    ),
    "the worker's image": ("init[1]['image'] = 'evil'", f"found {IMAGE}, evil"),
    "another tag": ("init[0]['image'] += '1'", "must run an image"),
    "a keeper that runs once": ("del init[0]['restartPolicy']", "restartPolicy Always"),
    "a worker that runs once": ("init[1]['restartPolicy'] = 'Never'", "restartPolicy Always"),
    "a privileged worker": (
        "init[1]['securityContext'] = {'privileged': True}",
        "must be unprivileged",
    ),
    "a worker that may escalate": ("del init[1]['securityContext']", "must be unprivileged"),
    "no securityContext at all": (
        "del init[0]['securityContext']",
        "s3-mount-keeper makes the mount",
    ),
    "something else where the token would be": (
        (
            "[m.update(name='kube-api-access-x') for c in init[:2] for m in c['volumeMounts']"
            " if 'no-token' in m['name']];"
            "spec['volumes'].append({'name': 'kube-api-access-x', 'emptyDir': {}})"
        ),
        "only the webhook says what is mounted",
    ),
    "the socket in the application": (
        "spec['containers'][0]['volumeMounts'][0]['name'] = 's3-mount-socket'",
        "by annotation only",
    ),
    "the whole bus in the application": (
        "del spec['containers'][0]['volumeMounts'][0]['subPath']",
        "by annotation only",
    ),
    "the credentials in an init container": (
        "init[2]['volumeMounts'] = [{'name': 's3-mount-credentials', 'mountPath': '/x'}]",
        "by annotation only",
    ),
    "a helper of ours": (
        "spec['containers'].append({'name': 's3-mount-helper', 'image': 'x'})",
        "all that begin with s3-mount- for the webhook",
    ),
    "a volume of ours that isn't": (
        "spec['volumes'].append({'name': 's3-mount-x', 'emptyDir': {}})",
        "begin with s3-mount- are the webhook's",
    ),
    "a metadata agent of somebody's": (
        "init[1]['env'].append({'name': 'AWS_CONTAINER_CREDENTIALS_FULL_URI', 'value': 'http://x/'})",
        "from the agent of EKS",
    ),
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


# What the webhook puts back or refuses and the guard lets pass: nothing runs or is mounted
# otherwise for it, the API server refuses it itself, or it is the value of a variable, which only
# the webhook can tell from a right one.
BEYOND = (
    *("['ports']", "fieldOfTomorrow", "nvidia.com/gpu", "['resources']", "['limits']"),
    *("spec['volumes'][", "del worker['volumeMounts'][0]", "worker['env'][0]['value']"),
    *("$(S3MOUNT_CONFIG)", "'TZ'"),
)
JUDGED = [
    (verdict, change)
    for verdict, change in neighbours.CASES
    if verdict == neighbours.KEPT or not any(each in change for each in BEYOND)
]


@pytest.mark.parametrize(("verdict", "change"), JUDGED)
def test_what_others_do_after_us_is_judged_as_by_the_webhook(verdict, change):
    """What it keeps passes; what it puts back or refuses is refused: nobody puts it back here."""
    found = guards(created(neighbours.changed(change)))
    assert (found == []) is (verdict == neighbours.KEPT)
    assert all("s3-mount-" in text or "sidecars of the bucket" in text for text in found)


@pytest.mark.parametrize("change", neighbours.of(neighbours.UNDONE))
def test_what_the_webhook_puts_back_passes(change):
    """The two agree about what a sidecar is."""
    assert guards(created(neighbours.run(neighbours.changed(change)))) == []


def test_every_variable_and_path_of_the_closed_list_is_the_guards_too():
    """One list, written down twice: in the webhook and in the expressions."""
    policy = one("ValidatingAdmissionPolicy", "s3mount-created-pods", GUARDED)
    variables = {v["name"]: v["expression"] for v in policy["spec"]["variables"]}
    assert set(re.findall(r"'([^']+)'", variables["cloudVariables"])) == VARIABLES
    assert set(re.findall(r"'([^']+)'", variables["cloudPaths"])) == TOKEN_DIRECTORIES


def test_a_replica_that_nobody_heard_of_injects_nothing():
    """Without announced images the pod is refused, not failed."""
    for params in ({}, {"data": {}}):
        request = created()
        found = guard("s3mount-created-pods", replace(request, params=params))
        assert len(found) == 1
        assert "announces in AnnouncedImages s3mount-images" in found[0]


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
    assert len(policies) == 4


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
