"""Every manifest is what Kubernetes expects, and they agree with each other."""

import json
from typing import Any

import pytest

from certs import cluster
from certs.__main__ import _parser as certs_parser
from tests import schemas
from tests.deploy.rendered import GUARDED, Manifest, manifests, one, overlays
from tests.webhook.serve.test_hostile import RSS_MIB
from webhook.parse.quantities import parse_bytes

VERSIONS = ["1.30", "1.31", "1.33", schemas.LATEST]


def pod_spec(overlay: str = ".") -> dict[str, Any]:
    """The webhook's pod."""
    return one("Deployment", "s3mount-webhook", overlay)["spec"]["template"]["spec"]


def container(name: str, overlay: str = ".") -> dict[str, Any]:
    """One container of the webhook's pod, sidecars included."""
    spec = pod_spec(overlay)
    (found,) = (c for c in spec.get("initContainers", []) + spec["containers"] if c["name"] == name)
    return found


def webhook(overlay: str = ".") -> dict[str, Any]:
    """The one webhook of the configuration."""
    (found,) = one("MutatingWebhookConfiguration", "mount-s3-injector", overlay)["webhooks"]
    return found


def selects(selector: dict[str, str], manifest: Manifest) -> bool:
    """Whether a label selector matches a pod template."""
    return selector.items() <= manifest["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_validates_against_the_kubernetes_schema(version):
    """Strictly: unknown fields are errors. What overlays have in common is looked at once."""
    found = (manifest for overlay in [*overlays(), GUARDED] for manifest in manifests(overlay))
    distinct = {json.dumps(manifest, default=str): manifest for manifest in found}
    for manifest in distinct.values():
        if manifest["apiVersion"].startswith(("cert-manager.io/", "s3.mount/")):
            continue
        schemas.validate(manifest, version)


def test_the_parameter_of_the_guards_is_of_a_kind_of_our_own():
    """An API server can't watch ConfigMaps for policies again once the last of those is deleted."""
    group, _, version = policy_kind()["apiVersion"].partition("/")
    definition = one("CustomResourceDefinition", f"announcedimages.{group}")["spec"]
    assert (definition["group"], definition["names"]["kind"]) == (group, policy_kind()["kind"])
    (served,) = definition["versions"]
    assert (served["name"], served["served"], served["storage"]) == (version, True, True)
    assert (group, version, definition["names"]["plural"]) == cluster._ANNOUNCED
    data = served["schema"]["openAPIV3Schema"]["properties"]["data"]
    assert data["additionalProperties"] == {"type": "string"}


def policy_kind() -> dict[str, str]:
    """The kind of the parameter of the one policy that has one."""
    policies = [m for m in manifests() if m["kind"] == "ValidatingAdmissionPolicy"]
    (found,) = (p["spec"]["paramKind"] for p in policies if "paramKind" in p["spec"])
    return found


@pytest.mark.parametrize("overlay", [*overlays(), GUARDED])
def test_replicas_announce_where_guards_are(overlay):
    """A replica that nobody can be told by would never be ready; cert-manager's have no agent."""
    kinds = {m["kind"] for m in manifests(overlay)}
    agents = [c for c in pod_spec(overlay).get("initContainers", []) if c["name"] == "certificates"]
    announcing = {any(a.startswith("--announce-in=") for a in agent["args"]) for agent in agents}
    if not agents:
        assert one("AnnouncedImages", "s3mount-images", overlay)["data"].keys() == {"installed"}
    assert announcing <= {"ValidatingAdmissionPolicy" in kinds}
    assert ("CustomResourceDefinition" in kinds) is ("ValidatingAdmissionPolicy" in kinds)


@pytest.mark.parametrize("overlay", overlays())
def test_names_are_unique_and_namespaces_ours(overlay):
    """No object twice; what has a namespace lives in the one that is created."""
    found = manifests(overlay)
    keys = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in found]
    assert len(keys) == len(set(keys))
    assert {namespace for _, namespace, _ in keys} == {None, "s3mount-system"}
    assert found[0]["kind"] == "Namespace"


@pytest.mark.parametrize("overlay", overlays())
def test_nothing_is_generated(overlay):
    """Applying twice changes nothing: no caBundle, no Secret contents, no hashes in names."""
    for manifest in manifests(overlay):
        assert manifest["kind"] != "Secret"
        assert "caBundle" not in str(manifest)
        assert "generateName" not in manifest["metadata"]


@pytest.mark.parametrize("overlay", overlays())
def test_the_webhook_configuration_reaches_the_webhook(overlay):
    """Configuration -> Service -> port name -> container that listens there with TLS."""
    target = webhook(overlay)["clientConfig"]["service"]
    service = one("Service", target["name"], overlay)
    assert service["metadata"]["namespace"] == target["namespace"]
    (port,) = (p for p in service["spec"]["ports"] if p["port"] == target["port"])
    ports = {p["name"]: p["containerPort"] for p in container("webhook", overlay)["ports"]}
    assert ports[port["targetPort"]] == 8443
    deployment = one("Deployment", "s3mount-webhook", overlay)
    assert selects(service["spec"]["selector"], deployment)


def test_the_certificates_are_for_the_name_the_api_server_calls():
    """The agent's arguments name the Service, the configuration and the Secret of its rights."""
    arguments = [a.replace("$(POD_NAMESPACE)", "s3mount-system") for a in agent_arguments()]
    options = certs_parser().parse_args(["rotate", *arguments])
    service = webhook()["clientConfig"]["service"]
    assert (options.service, options.namespace) == (service["name"], service["namespace"])
    assert options.webhook_configuration == "mount-s3-injector"
    assert options.secret == "s3mount-webhook-ca"
    binding = one("ValidatingAdmissionPolicyBinding", "s3mount-created-pods")["spec"]
    assert options.announce_in == binding["paramRef"]["name"]
    assert binding["paramRef"]["namespace"] == "s3mount-system"
    assert (options.announce, options.replica) == ("$(S3MOUNT_IMAGE)", "$(POD_NAME)")


def agent_arguments() -> list[str]:
    """The arguments of the certificate agent after `rotate`."""
    agent = container("certificates")
    assert agent["command"] == ["python", "-m", "certs", "rotate"]
    return agent["args"]


@pytest.mark.parametrize("name", ["certificates", "webhook"])
def test_both_containers_share_the_directory_of_the_certificates(name):
    """In memory, at the path their arguments give."""
    mounts = {m["name"]: m["mountPath"] for m in container(name)["volumeMounts"]}
    assert f"--tls-dir={mounts['tls']}" in container(name)["args"]
    (volume,) = (v for v in pod_spec()["volumes"] if v["name"] == "tls")
    assert volume["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize("overlay", [*overlays(), GUARDED])
def test_one_image_everywhere(overlay):
    """What runs is what is injected: a different image would fail the guards."""
    spec = pod_spec(overlay)
    images = {c["image"] for c in spec.get("initContainers", []) + spec["containers"]}
    env = {e["name"]: e.get("value") for e in container("webhook", overlay)["env"]}
    announced = [m for m in manifests(overlay) if m["metadata"]["name"] == "s3mount-images"]
    images |= {image for m in announced for image in m.get("data", {}).values()}
    if agents := [c for c in spec.get("initContainers", []) if c["name"] == "certificates"]:
        (agent,) = agents
        images |= {e["value"] for e in agent["env"] if e["name"] == "S3MOUNT_IMAGE"}
    assert images == {env["S3MOUNT_IMAGE"]}
    assert not images.pop().endswith(":latest")


def test_only_opted_in_namespaces_are_asked_about():
    """Our label, and never the namespaces the cluster or the webhook itself needs."""
    selector = webhook()["namespaceSelector"]
    assert selector["matchLabels"] == {"s3.mount/injection": "enabled"}
    (expression,) = selector["matchExpressions"]
    assert expression["operator"] == "NotIn"
    assert {"kube-system", "s3mount-system"} <= set(expression["values"])


def test_the_webhook_is_called_as_designed():
    """Fails closed, answers in 5 s, is asked again after others changed the pod."""
    expected = {
        "failurePolicy": "Fail",
        "timeoutSeconds": 5,
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "matchPolicy": "Equivalent",
    }
    assert {key: webhook()[key] for key in expected} == expected


def test_it_runs_after_meshes_and_before_pod_identity():
    """Mutating webhooks are called in the order of their names."""
    neighbours = ["istio-sidecar-injector", "linkerd-proxy-injector-webhook-config"]
    order = sorted([*neighbours, "mount-s3-injector", "pod-identity-webhook"])
    assert order.index("mount-s3-injector") == 2


def test_disruption_budget_and_network_policy_select_the_webhook():
    """A selector that matches nothing protects nothing."""
    deployment = one("Deployment", "s3mount-webhook")
    budget = one("PodDisruptionBudget", "s3mount-webhook")
    network = one("NetworkPolicy", "s3mount-webhook")
    assert selects(budget["spec"]["selector"]["matchLabels"], deployment)
    assert selects(network["spec"]["podSelector"]["matchLabels"], deployment)
    ports = {p["name"] for p in container("webhook")["ports"]}
    allowed = {p["port"] for rule in network["spec"]["ingress"] for p in rule["ports"]}
    assert allowed == ports


def test_two_replicas_that_spread():
    """A node or a zone may go without taking admission with it."""
    assert one("Deployment", "s3mount-webhook")["spec"]["replicas"] == 2
    keys = {c["topologyKey"] for c in pod_spec()["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_the_webhook_asks_for_what_it_takes_at_worst():
    """What strangers can make it take is inside its request: the node's other pods lose nothing."""
    resources = container("webhook")["resources"]
    assert parse_bytes(resources["requests"]["memory"]) > RSS_MIB * 2**20
    assert parse_bytes(resources["limits"]["memory"]) >= 2 * RSS_MIB * 2**20
