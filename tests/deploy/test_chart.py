"""The Helm chart renders what kustomize does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from fusefs.node.settings import KUBELET
from tests.deploy import chart
from tests.deploy.rendered import DEPLOY, Manifest, manifests
from tests.tools.fetched import tool

STRICT = (DEPLOY / "overlays/strict/policy.yaml").read_text()
# By overlay: the values that make the same of the chart.
SAME = {
    ".": [],
    "overlays/small": ["replicas=1"],
    "overlays/cert-manager": ["certManager.enabled=true"],
    "overlays/no-guards": ["guards.enabled=false", "hints.enabled=false"],
    "overlays/no-hints": ["hints.enabled=false"],
    "overlays/events": ["events.enabled=true"],
    "../tests/deploy/looking": ["lookups.enabled=true"],
    "overlays/node": ["keeper=node"],
}
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def helm() -> Helm:
    """Run Helm on the chart."""
    program = tool("helm")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def template(helm: Helm, *values: str) -> list[Manifest]:
    """Return what an installation with these values would apply."""
    sets = [word for value in values for word in ("--set", value)]
    where = ["--namespace", "s3mount-system", "--include-crds", "--kube-version", "1.33"]
    done = helm("template", "s3mount", str(chart.CHART), *where, *sets)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each is not None]


def by_name(objects: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_the_templates_are_made_of_the_manifests() -> None:
    """`python -m tests.deploy.chart` writes them anew."""
    made = chart.templates()
    there = {
        str(path.relative_to(chart.CHART)): path.read_text()
        for folder in ("templates", "crds")
        for path in (chart.CHART / folder).glob("*.yaml")
    }
    assert there == made


@pytest.mark.parametrize("overlay", SAME)
def test_the_chart_renders_the_same_objects(helm: Helm, overlay: str) -> None:
    """Each overlay has its values."""
    found = template(helm, "createNamespace=true", *SAME[overlay])
    wanted = by_name(manifests(overlay))
    kept = {name for name in by_name(found) if name not in wanted}
    # Helm's own place for definitions has no conditions.
    assert kept <= {("CustomResourceDefinition", "announcedimages.s3.mount")}
    assert {name: each for name, each in by_name(found).items() if name in wanted} == wanted


def test_a_strict_policy_is_a_value(helm: Helm, tmp_path: Any) -> None:
    """The same ConfigMap as overlays/strict."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump({"policy": STRICT}))
    told = ["--namespace", "s3mount-system", "-f", str(tmp_path / "values.yaml")]
    done = helm("template", "s3mount", str(chart.CHART), *told)
    objects = by_name([each for each in yaml.safe_load_all(done.stdout) if each])
    wanted = by_name(manifests("overlays/strict"))
    name = ("ConfigMap", "s3mount-policy")
    assert objects[name] == wanted[name]


def test_values_choose(helm: Helm) -> None:
    """The image in every place, settings, where it runs, and what watches it."""
    objects = template(
        helm,
        "image.repository=registry.example/s3mount",
        "image.tag=9.9.9",
        "settings.S3MOUNT_LOG_LEVEL=debug",
        "nodeSelector.pool=system",
        "imagePullSecrets[0].name=pull",
        "monitoring.enabled=true",
        "monitoring.labels.release=prometheus",
    )
    deployment = by_name(objects)["Deployment", "s3mount-webhook"]
    pod = deployment["spec"]["template"]["spec"]
    (webhook,), (agent,) = pod["containers"], pod["initContainers"]
    told = {each["name"]: each.get("value") for each in webhook["env"]}
    image = "registry.example/s3mount:9.9.9"
    assert {webhook["image"], agent["image"], told["S3MOUNT_IMAGE"]} == {image}
    assert told["S3MOUNT_LOG_LEVEL"] == "debug"
    assert (pod["nodeSelector"], pod["imagePullSecrets"]) == (
        {"pool": "system"},
        [{"name": "pull"}],
    )
    watching = by_name([each for each in objects if each["metadata"]["name"] in WATCHED])
    for each in by_name(manifests("monitoring")).values():
        each["metadata"]["labels"]["release"] = "prometheus"
        assert watching[each["kind"], each["metadata"]["name"]] == each


def test_node_mode_goes_with_other_certificates(helm: Helm) -> None:
    """The same plugin; the webhook has the key beside a certificate of cert-manager's."""
    objects = by_name(template(helm, "keeper=node", "certManager.enabled=true"))
    plain = by_name(manifests("overlays/node"))
    for name in plain.keys() - by_name(manifests()).keys():
        assert objects[name] == plain[name]
    pod = objects["Deployment", "s3mount-webhook"]["spec"]["template"]["spec"]
    secrets = {each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    assert secrets == {"s3mount-node-key", "s3mount-webhook-tls"}
    (webhook,) = pod["containers"]
    mounted = {each["name"] for each in webhook["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}


def test_node_mode_has_values_of_its_own(helm: Helm) -> None:
    """Where the kubelet is, how much pods may share, and what the plugin may take."""
    objects = by_name(
        template(
            helm,
            "keeper=node",
            "node.kubeletDirectory=/data/kubelet",
            "node.cacheSize=50Gi",
            "resources.plugin.limits.memory=200Mi",
            "imagePullSecrets[0].name=pull",
            "settings.S3MOUNT_KEEPER=pod",
        )
    )
    pod = objects["DaemonSet", "s3mount-node"]["spec"]["template"]["spec"]
    (plugin,) = pod["containers"]
    assert "--kubelet-directory=/data/kubelet" in plugin["args"]
    assert "--cache-size=50Gi" in plugin["args"]
    assert KUBELET not in str(pod)
    assert plugin["resources"]["limits"] == {"memory": "200Mi"}
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    (webhook,) = objects["Deployment", "s3mount-webhook"]["spec"]["template"]["spec"]["containers"]
    modes = [each["value"] for each in webhook["env"] if each["name"] == "S3MOUNT_KEEPER"]
    assert modes == ["pod"], "a setting goes before: policy rules choose who is in node mode"


WATCHED = {each["metadata"]["name"] for each in manifests("monitoring")}


def test_settings_of_events_are_values(helm: Helm) -> None:
    """Of the process that writes them, and of no other."""
    objects = by_name(
        template(helm, "events.enabled=true", "events.settings.S3MOUNT_EVENT_INTERVAL=30s")
    )
    pods = {
        name: objects["Deployment", f"s3mount-{name}"]["spec"]["template"]["spec"]
        for name in ("events", "webhook")
    }
    told = [{"name": "S3MOUNT_EVENT_INTERVAL", "value": "30s"}]
    assert pods["events"]["containers"][0]["env"] == told
    assert told[0] not in pods["webhook"]["containers"][0]["env"]


def test_the_chart_has_no_faults(helm: Helm) -> None:
    """By Helm's own lint, warnings included."""
    done = helm("lint", str(chart.CHART), "--namespace", "s3mount-system", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("replicas=0", "replicas"),
        ("image.repository=", "repository"),
        ("settings.S3MOUNT_IMAGE=x", "S3MOUNT_IMAGE"),
        ("settings.LOG=x", "LOG"),
        ("gaurds.enabled=false", "gaurds"),
        ("keeper=host", "keeper"),
        ("node.kubeletDirectory=var/lib/kubelet", "kubeletDirectory"),
        ("node.cacheSize=much", "cacheSize"),
        ("events.settings.S3MOUNT_IMAGE=x", "S3MOUNT_IMAGE"),
    ],
)
def test_wrong_values_are_told(helm: Helm, value: str, complaint: str) -> None:
    """By the schema, which knows every value there is."""
    where = ["--namespace", "s3mount-system", "--set", value]
    done = helm("template", "s3mount", str(chart.CHART), *where)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_another_namespace_is_told(helm: Helm) -> None:
    """Selectors and certificates have its name."""
    done = helm("template", "s3mount", str(chart.CHART), "--namespace", "default")
    assert done.returncode != 0
    assert "--namespace s3mount-system" in done.stderr
