"""The pod's own identity where a cloud's webhook came before us: from the application's container.

IRSA and EKS Pod Identity put variables and a token into every container there is. Containers that
come later, as ours do when a pod was prepared elsewhere, are passed over by some versions of them,
and the mount would start without credentials. Nothing is taken that isn't such an identity: no
keys, no endpoints, no token from other places. Pure functions.
"""

from typing import Any

from webhook.pod.additions import AWS_TOKEN_FILES, is_aws_identity, is_token_mount, normal_path
from webhook.pod.containers import is_reserved
from webhook.pods import items
from webhook.spec.mountspec import Wanted


def with_identity(worker: dict[str, Any], spec: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The worker with the identity that the pod's applications have, if a mount is to use it."""
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
    """Whether a token that a variable names is in this mount."""
    files = [item["value"] for item in variables if item["name"] in AWS_TOKEN_FILES]
    return any(file.startswith(normal_path(mount["mountPath"]) + "/") for file in files)
