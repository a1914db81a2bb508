"""What clouds add to every container, ours included: a closed list of variables and token mounts.

Each with its name and its allowed values; a mount with its normal path and the kind of its volume.
No other addition to our containers is allowed: a path could cover our code, a variable could choose
the code that runs or the receiver of signed requests. Pure functions.

Sources: the identity webhooks of EKS (IRSA, Pod Identity), kOps, Azure and GKE; TZ is k8tz's.
"""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from webhook.parse.boundedcache import bounded_cache

_SECRETS = "/var/run/secrets/"
TOKEN_DIRECTORIES = frozenset(
    _SECRETS + name
    for name in (
        "eks.amazonaws.com/serviceaccount",
        "pods.eks.amazonaws.com/serviceaccount",
        "amazonaws.com",
        "azure/tokens",
        "sts.googleapis.com/serviceaccount",
        "tokens/gcp-ksa",
    )
)
_TOKEN_FILE = (
    rf"({'|'.join(map(re.escape, sorted(TOKEN_DIRECTORIES)))})/[A-Za-z0-9_-][A-Za-z0-9._-]*"
)
_REGION = r"[a-z0-9-]{1,63}"
_ID = r"[A-Za-z0-9-]{1,64}"
AWS_TOKEN_FILES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
_AWS = {
    **dict.fromkeys(AWS_TOKEN_FILES, _TOKEN_FILE),
    "AWS_ROLE_ARN": r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,600}",
    # The agent of EKS Pod Identity, over IPv4 or IPv6; no other address.
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": r"http://(169\.254\.170\.23|\[fd00:ec2::23\])/[\w/.-]*",
    "AWS_REGION": _REGION,
    "AWS_DEFAULT_REGION": _REGION,
    "AWS_STS_REGIONAL_ENDPOINTS": "regional|legacy",
}
_OTHERS = {
    "AZURE_CLIENT_ID": _ID,
    "AZURE_TENANT_ID": _ID,
    "AZURE_FEDERATED_TOKEN_FILE": _TOKEN_FILE,
    "AZURE_AUTHORITY_HOST": r"https://[a-z0-9.-]+/?",
    "GOOGLE_APPLICATION_CREDENTIALS": _SECRETS + r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": _TOKEN_FILE,
    "CLOUDSDK_COMPUTE_REGION": _REGION,
    "CLOUDSDK_CORE_PROJECT": r"[a-z0-9:.-]{1,100}",
    "TZ": r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*){0,3}",
}
# The names alone: a test compares the guards with them.
VARIABLES = frozenset(_AWS | _OTHERS)
_TOKEN_SOURCE = {"serviceAccountToken"}
_MOUNT_FIELDS = {"name", "mountPath", "readOnly", "recursiveReadOnly", "mountPropagation"}


def is_aws_identity(item: Mapping[str, Any]) -> bool:
    """Return whether a variable is part of the identity that a cloud gives to the AWS SDK."""
    return _is_one_of(item, _AWS)


def is_known_variable(item: Mapping[str, Any]) -> bool:
    """Return whether a variable is on the list, with an allowed value."""
    return _is_one_of(item, _AWS) or _is_one_of(item, _OTHERS)


def _is_one_of(item: Mapping[str, Any], known: Mapping[str, str]) -> bool:
    pattern, value = known.get(item["name"]), item.get("value")
    if pattern is None or not isinstance(value, str) or item.keys() - {"name", "value"}:
        return False
    return re.fullmatch(pattern, value, re.ASCII) is not None


def is_token_mount(item: Mapping[str, Any], volumes: list[dict[str, Any]]) -> bool:
    """Return whether a mount is a token of the pod's own service account, at a cloud's path.

    `volumes` are the pod's: their kind counts, not their name.
    """
    return (
        normal_path(item["mountPath"]) in TOKEN_DIRECTORIES
        and ".." not in item["mountPath"].split("/")
        and item.get("readOnly") is True
        and item.get("mountPropagation") in (None, "None")
        and not item.keys() - _MOUNT_FIELDS
        and any(v["name"] == item["name"] and _holds_tokens_only(v) for v in volumes)
    )


def _holds_tokens_only(volume: Mapping[str, Any]) -> bool:
    projected = volume.get("projected")
    sources = projected.get("sources") if isinstance(projected, dict) else None
    return (
        not volume.keys() - {"name", "projected"}
        and isinstance(sources, list)
        and bool(sources)
        and all(isinstance(each, dict) and set(each) == _TOKEN_SOURCE for each in sources)
    )


def normal_path(path: str) -> str:
    """Return a path as the container runtime normalises it."""
    if path.startswith("/") and "//" not in path and "/." not in path and path[-1] != "/":
        return path  # as nearly all are
    return _normalised(path)


@bounded_cache
def _normalised(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))
