"""deploy/events: what the process that writes events may do, and what it is given."""

import re
from pathlib import Path
from typing import Any

from tests.deploy.rendered import manifests, one
from tests.deploy.test_manifests import selects
from webhook.__main__ import _parser
from webhook.events.recorder import PER_SECOND
from webhook.platform.reporting import REASONS
from webhook.platform.settings import Platform

OVERLAY = "overlays/events"
DOCS = Path(__file__).parents[2] / "docs"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def spec() -> dict[str, Any]:
    """Its pod."""
    return one("Deployment", "s3mount-events", OVERLAY)["spec"]["template"]["spec"]


def rights(overlay: str) -> dict[str, list[dict[str, Any]]]:
    """The rules of each role."""
    kinds = ("Role", "ClusterRole")
    return {m["metadata"]["name"]: m["rules"] for m in manifests(overlay) if m["kind"] in kinds}


def test_it_is_an_overlay_of_its_own() -> None:
    """The default installation has neither the process nor its rights; all else stays as it is."""

    def without(overlay: str) -> list[dict[str, Any]]:
        return [m for m in manifests(overlay) if m["metadata"]["name"] != "s3mount-events"]

    assert without(".") == manifests(".")
    assert without(OVERLAY) == manifests(".")


def test_it_may_list_pods_and_write_events() -> None:
    """And nothing else: no Secret, no change of a pod; docs/security.md has the same table."""
    given = rights(OVERLAY)["s3mount-events"]
    assert given == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]
    section = (DOCS / "security.md").read_text().partition("`s3mount-events`\n")[2]
    rows = re.findall(r"^\| (`.+?`) \| (\w+) ", section.partition("\n## ")[0], re.MULTILINE)
    documented = {
        (resource, verb) for verbs, resource in rows for verb in re.findall(r"`(\w+)`", verbs)
    }
    assert documented == {
        (r, verb) for rule in given for r in rule["resources"] for verb in rule["verbs"]
    }


def test_its_rights_are_nobody_elses() -> None:
    """Its service account is bound to its role alone, and runs this pod alone."""
    found = manifests(OVERLAY)
    bound = [m for m in found if m["kind"].endswith("Binding") and "subjects" in m]
    mine = [m for m in bound if any(s["name"] == "s3mount-events" for s in m["subjects"])]
    assert [m["roleRef"]["name"] for m in mine] == ["s3mount-events"]
    assert [len(m["subjects"]) for m in mine] == [1]
    running = [m for m in found if m["kind"] in ("Deployment", "DaemonSet")]
    accounts = [m["spec"]["template"]["spec"]["serviceAccountName"] for m in running]
    assert accounts.count("s3mount-events") == 1


def test_it_is_what_restricted_pod_security_admits() -> None:
    """With a token of an hour, and a heartbeat in memory."""
    assert spec()["securityContext"]["runAsNonRoot"] is True
    assert spec()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec()["automountServiceAccountToken"] is False
    (container,) = spec()["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {m["mountPath"] for m in container["volumeMounts"]} == {"/run/s3mount", TOKEN}


def test_its_command_is_one_of_ours() -> None:
    """And its probe looks at the file that the command touches."""
    (container,) = spec()["containers"]
    arguments = _parser().parse_args([*container["command"][3:], *container["args"]])
    assert str(arguments.heartbeat) in container["livenessProbe"]["exec"]["command"][-1]


def test_two_never_run_at_once() -> None:
    """Each would write every event."""
    deployment = one("Deployment", "s3mount-events", OVERLAY)["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})


def test_it_reaches_the_metrics_and_the_api_server_and_nobody_reaches_it() -> None:
    """By a policy that selects its pod and no other."""
    policy = one("NetworkPolicy", "s3mount-events", OVERLAY)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert ports == [443, 6443, Platform().worker_metrics_port, 53, 53]
    labels = policy["podSelector"]["matchLabels"]
    selected = {
        m["metadata"]["name"]: selects(labels, m)
        for m in manifests(OVERLAY)
        if m["kind"] == "Deployment"
    }
    assert selected == {"s3mount-events": True, "s3mount-webhook": False}


def test_every_event_is_described() -> None:
    """Its reason, and how many there are at most."""
    section = (DOCS / "monitoring.md").read_text().partition("\n## Events of Kubernetes\n")[2]
    assert re.findall(r"^\| `(S3\w+)` \|", section, re.MULTILINE) == list(REASONS)
    assert PER_SECOND == 1
    assert "one a second" in section
