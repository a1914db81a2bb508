"""What each overlay changes, and what the installation as a whole may do."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from certs.announcement import Announcement
from certs.cluster import ImagesBoard, KubernetesCluster
from certs.rotation import Rotation
from tests.certs.api_server import SECRETS, serving
from tests.certs.fake import NAMES, TestClock, settle
from tests.certs.test_cluster import PATH
from tests.deploy.rendered import DEPLOY, KUBECTL, manifests, one, overlays
from tests.deploy.test_manifests import container, pod_spec
from webhook.policy.file import parse_policy

CERT_MANAGER = "overlays/cert-manager"


def policy(overlay: str) -> Any:
    """The policy that is shipped, read as the webhook reads it."""
    data = one("ConfigMap", "s3mount-policy", overlay)["data"]
    return parse_policy(data["policy.yaml"], overlay)


def rules(overlay: str = ".") -> list[dict[str, Any]]:
    """Every right that is given to anybody."""
    kinds = ("Role", "ClusterRole")
    return [rule for m in manifests(overlay) if m["kind"] in kinds for rule in m["rules"]]


def test_the_shipped_policy_allows_and_the_strict_one_denies():
    """Both are valid for the webhook that reads them."""
    assert policy(".").default.grants
    assert not policy("overlays/strict").default.grants


def test_small_has_one_replica_that_does_not_block_a_drain():
    """A budget that allows no disruption would hold up the only node."""
    assert one("Deployment", "s3mount-webhook", "overlays/small")["spec"]["replicas"] == 1
    budget = one("PodDisruptionBudget", "s3mount-webhook", "overlays/small")
    assert budget["spec"]["maxUnavailable"] == 1


def test_no_guards_differs_in_the_guards_alone():
    """Kubernetes 1.29 knows no ValidatingAdmissionPolicy."""
    kinds = {m["kind"] for m in manifests("overlays/no-guards")}
    assert kinds >= {"Deployment", "MutatingWebhookConfiguration"}
    assert not any(kind.startswith("ValidatingAdmission") for kind in kinds)
    assert not any("announcedimages" in rule["resources"] for rule in rules("overlays/no-guards"))


def test_with_cert_manager_no_right_is_left():
    """Neither agent nor token nor roles."""
    assert rules(CERT_MANAGER) == []
    spec = pod_spec(CERT_MANAGER)
    assert not spec["initContainers"]
    assert [v["name"] for v in spec["volumes"]] == ["tls", "policy"]
    assert not spec["automountServiceAccountToken"]


def test_cert_managers_certificate_reaches_the_webhook():
    """Names of the Service, the Secret that is mounted, the bundle injected from the same."""
    service = "s3mount-webhook.s3mount-system.svc"
    certificate = one("Certificate", "s3mount-webhook", CERT_MANAGER)["spec"]
    assert service in certificate["dnsNames"]
    (tls,) = (v for v in pod_spec(CERT_MANAGER)["volumes"] if v["name"] == "tls")
    assert tls["secret"]["secretName"] == certificate["secretName"]
    annotations = one("MutatingWebhookConfiguration", "mount-s3-injector", CERT_MANAGER)
    source = annotations["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert source == "s3mount-system/s3mount-webhook"


@pytest.mark.parametrize(("overlay", "needed"), [(".", "true"), (CERT_MANAGER, "false")])
def test_readiness_waits_for_the_agent_where_there_is_one(overlay, needed):
    """Nobody else writes the file it would wait for."""
    env = {e["name"]: e.get("value") for e in container("webhook", overlay)["env"]}
    assert env["S3MOUNT_REQUIRE_READY_FILE"] == needed


@pytest.mark.parametrize("overlay", overlays())
def test_the_pod_is_what_restricted_pod_security_admits(overlay):
    """The namespace enforces it, so it had better be."""
    spec = pod_spec(overlay)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in spec.get("initContainers", []) + spec["containers"]:
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    kinds = {key for volume in spec["volumes"] for key in volume if key != "name"}
    assert kinds <= {"emptyDir", "configMap", "projected", "secret"}
    labels = one("Namespace", "s3mount-system", overlay)["metadata"]["labels"]
    # The plugin of node mode is privileged, and in that namespace.
    level = "privileged" if overlay == "overlays/node" else "restricted"
    assert labels["pod-security.kubernetes.io/enforce"] == level


def test_only_the_agent_has_a_token():
    """Who parses what strangers send can't talk to the API server."""
    assert pod_spec()["automountServiceAccountToken"] is False
    mounts = {m["name"] for m in container("webhook")["volumeMounts"]}
    assert mounts == {"tls", "policy"}
    assert "token" in {m["name"] for m in container("certificates")["volumeMounts"]}


def test_rights_are_by_name_except_where_the_api_cannot():
    """Creating can't be restricted to a name; everything else is."""
    assert [rule for rule in rules() if "resourceNames" not in rule] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": ["s3.mount"], "resources": ["announcedimages"], "verbs": ["create"]},
    ]
    verbs = {verb for rule in rules() for verb in rule["verbs"]}
    assert verbs == {"get", "create", "update", "patch"}


VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}


def allowed(request: str) -> bool:
    """Whether the shipped rights cover a request of the agent's."""
    method, _, path = request.partition(" ")
    *_, resource, name = [*path.split("/"), ""] if method == "POST" else path.split("/")
    group = "" if path.startswith("/api/") else path.split("/")[2]
    return any(
        VERBS[method] in rule["verbs"]
        and group in rule["apiGroups"]
        and resource in rule["resources"]
        and name in rule.get("resourceNames", [name])
        for rule in rules()
    )


def test_the_agent_asks_for_nothing_it_has_no_right_to():
    """From an empty cluster through a replaced CA: every request, and every right is used."""
    clock = TestClock()
    with serving() as server, client.ApiClient(client.Configuration(host=server.url)) as api:
        server.put(PATH, one("MutatingWebhookConfiguration", "mount-s3-injector"))
        names = ("s3mount-system", "s3mount-webhook-ca", "mount-s3-injector")
        clock.shift = datetime.now(UTC) - clock.now()
        rotation = Rotation(KubernetesCluster(api, *names), clock, NAMES)
        settle(rotation, clock=clock, seconds=2)
        server.objects[f"{SECRETS}/s3mount-webhook-ca"]["data"] = {}
        settle(rotation, clock=clock, seconds=2)
        board = ImagesBoard(api, "s3mount-system", "s3mount-images")
        for replica in ("one", "two"):
            assert Announcement(board, clock, replica, "image").step() is None
    assert {VERBS[r.split()[0]] for r in server.requests} == {"get", "create", "update", "patch"}
    assert [r for r in server.requests if not allowed(r)] == []


def test_the_lookups_give_the_webhook_a_token_and_one_more_right(tmp_path):
    """Built as a component of somebody's own overlay."""
    text = rendered_with(tmp_path, "lookups")
    found = list(yaml.safe_load_all(text))
    (deployment,) = (m for m in found if m["kind"] == "Deployment")
    (webhook,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "S3MOUNT_LOOKUP_NAMESPACES", "value": "true"} in webhook["env"]
    assert "token" in {m["name"] for m in webhook["volumeMounts"]}
    (role,) = (m for m in found if m["metadata"]["name"] == "s3mount-namespaces" and "rules" in m)
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}
    ]


def rendered_with(folder: Path, component: str) -> str:
    """An overlay as an operator would write it beside a copy of ours."""
    shutil.copytree(DEPLOY, folder / "deploy")
    own = folder / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["../deploy"], "components": [f"../deploy/{component}"]})
    )
    command = [KUBECTL, "kustomize", own]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
