"""The pod's cloud identity, copied from the application's container to the worker.

IRSA and EKS Pod Identity put variables and a token into every container of a pod. Some versions
skip containers that are added later, as ours are after their webhook, and the mount would start
without credentials. Only such an identity is copied: no keys, no endpoints, no other token. Pure
functions.
"""

from typing import Any

from webhook.pod.additions import AWS_TOKEN_FILES, is_aws_identity, is_token_mount, normal_path
from webhook.pod.containers import is_reserved
from webhook.pods import items
from webhook.spec.mountspec import Wanted


def with_identity(worker: dict[str, Any], spec: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Return the worker with the identity of the pod's applications, if a mount uses it."""
    if all(mount.secret for mount in wanted.mounts):
        return worker
    volumes = items(spec, "volumes")
    for container in (*items(spec, "containers"), *items(spec, "initContainers")):
        if is_reserved(container["name"]):
            continue
        found = {item["name"]: item for item in items(container, "env")}
        variables = [item for item in found.values() if is_aws_identity(item)]
        tokens = [m for m in items(container, "volumeMounts") if is_token_mount(m, volumes)]
        mounts = [item for item in tokens if _holds(item, variables)]
        if mounts:
            more = {"env": [*worker["env"], *variables]}
            return worker | more | {"volumeMounts": [*worker["volumeMounts"], *mounts]}
    return worker


def _holds(mount: dict[str, Any], variables: list[dict[str, Any]]) -> bool:
    """Return whether this mount has the token that a variable names."""
    files = [item["value"] for item in variables if item["name"] in AWS_TOKEN_FILES]
    return any(file.startswith(normal_path(mount["mountPath"]) + "/") for file in files)
