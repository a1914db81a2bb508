"""The pod's own identity where a cloud's webhook came before us: from the application's container.

IRSA and EKS Pod Identity put variables and a token into every container there is. Containers that
come later, as ours do when a pod was prepared elsewhere, are passed over by some versions of them,
and the mount would start without credentials. Nothing is taken that isn't such an identity: no
keys, no endpoints, no token from other places. Pure functions.
"""

from typing import Any

from webhook.pod.containers import is_reserved
from webhook.pods import items
from webhook.spec.mountspec import Wanted

_TOKEN_FILES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
_VARIABLES = {
    *_TOKEN_FILES,
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_STS_REGIONAL_ENDPOINTS",
}
_TOKENS = "/var/run/secrets/"
# The agent of EKS Pod Identity, by either family; an address of the user's own isn't one.
_AGENTS = ("http://169.254.170.23/", "http://[fd00:ec2::23]/")


def with_identity(worker: dict[str, Any], spec: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The worker with the identity that the pod's applications have, if a mount is to use it."""
    if all(mount.secret for mount in wanted.mounts):
        return worker
    for container in (*items(spec, "containers"), *items(spec, "initContainers")):
        if is_reserved(container["name"]):
            continue
        variables = [item for item in items(container, "env") if _is_identity(item)]
        mounts = [item for item in items(container, "volumeMounts") if _holds(item, variables)]
        if mounts:
            more = {"env": [*worker["env"], *variables]}
            return worker | more | {"volumeMounts": [*worker["volumeMounts"], *mounts]}
    return worker


def _is_identity(item: dict[str, Any]) -> bool:
    value = item.get("value")
    if item["name"] not in _VARIABLES or not isinstance(value, str):
        return False
    return item["name"] != "AWS_CONTAINER_CREDENTIALS_FULL_URI" or value.startswith(_AGENTS)


def _holds(mount: dict[str, Any], variables: list[dict[str, Any]]) -> bool:
    """Whether the token that a variable names is in this mount, and can only be read there."""
    path = mount["mountPath"].rstrip("/") + "/"
    files = [item["value"] for item in variables if item["name"] in _TOKEN_FILES]
    return (
        path.startswith(_TOKENS)
        and bool(mount.get("readOnly"))
        and not is_reserved(mount["name"])
        and any(file.startswith(path) for file in files)
    )
