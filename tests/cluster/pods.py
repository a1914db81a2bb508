"""The pods that the checks make: small, and like what users write."""

from __future__ import annotations

from typing import Any

from tests.cluster.cluster import Manifest

SECRET = "credentials"
BUCKET = "s3.mount/bucket"
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"]


def secret(namespace: str, access_key: str, secret_key: str, name: str = SECRET) -> Manifest:
    """Return a Secret with a key pair."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key},
    }


def namespace(name: str, *, injection: bool = True, enforce: str = "privileged") -> Manifest:
    """Return a namespace, opted in or not, under a level of Pod Security."""
    labels = {"pod-security.kubernetes.io/enforce": enforce, "s3mount-e2e": "true"}
    labels |= {"s3.mount/injection": "enabled"} if injection else {}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def annotations(name: str = "", **told: str) -> dict[str, str]:
    """Return the annotations of one mount; keys of `told` have underscores for hyphens."""
    values = {"secret": SECRET, "path": "/data", **told}
    suffix = f".{name}" if name else ""
    return {f"s3.mount/{key.replace('_', '-')}{suffix}": value for key, value in values.items()}


def template(
    notes: dict[str, str], image: str, command: list[str] | None = None, **spec: Any
) -> Manifest:
    """Return the metadata and spec of a pod with one container `app`."""
    app = {
        "name": "app",
        "image": image,
        "command": command or SLEEP,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    app |= spec.pop("app", {})
    # The image's own user is nobody, who may not write where root owns the directory.
    spec = {"securityContext": {"runAsUser": 0}, **spec}
    spec = {"terminationGracePeriodSeconds": 60, "containers": [app], **spec}
    return {"metadata": {"annotations": notes}, "spec": spec}


def restricted(template: Manifest) -> Manifest:
    """Return the template as Pod Security `restricted` admits it: its users own their mounts."""
    spec, notes = template["spec"], template["metadata"]["annotations"]
    user = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    given = {key: value for key, value in spec["securityContext"].items() if value}
    alone = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    changed = {
        field: [{**each, "securityContext": alone} for each in spec.get(field, [])]
        for field in ("initContainers", "containers")
    }
    suffixes = [key.removeprefix(BUCKET) for key in notes if key.startswith(BUCKET)]
    owner = {f"s3.mount/{what}{each}": "1000" for each in suffixes for what in ("uid", "gid")}
    context = {"runAsUser": 1000, "runAsGroup": 1000, **given, **user}
    return {
        "metadata": {**template["metadata"], "annotations": owner | notes},
        "spec": {**spec, **changed, "securityContext": context},
    }


def pod(name: str, namespace: str, template: Manifest) -> Manifest:
    """Return a pod."""
    metadata = {"name": name, "namespace": namespace, **template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def workload(kind: str, name: str, namespace: str, template: Manifest, **spec: Any) -> Manifest:
    """Return a Deployment or StatefulSet whose pods carry the label `app: NAME`."""
    labels = {"app": name}
    metadata = {**template["metadata"], "labels": labels}
    body = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": metadata, "spec": template["spec"]},
        **spec,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": body,
    }


def job(name: str, namespace: str, template: Manifest) -> Manifest:
    """Return a Job that runs a pod once."""
    spec = {**template["spec"], "restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"metadata": template["metadata"], "spec": spec}},
    }
