"""The containers and volumes a mounted pod gets, as dictionaries: the contract with the image.

Everything the kubelet will run is spelt out here and nowhere else: names, commands, volumes,
security contexts. Where they go in the pod is `sidecar`'s business. Pure functions.

Names are public and stable: containers `s3-mount` and `s3-mount-NAME`; volumes `s3-mount-bus`,
`s3-mount-cache`, `s3-mount-credentials` and `s3-mount-credentials-NAME`.
"""

from typing import Any

from webhook.annotations import UNNAMED, MountSpec, Wanted
from webhook.quantities import format_bytes
from webhook.settings import Platform

# Every container and volume name that is this or begins with this and a dash is ours.
RESERVED = "s3-mount"
BUS = "s3-mount-bus"
CACHE = "s3-mount-cache"
CREDENTIALS = "s3-mount-credentials"
BUS_DIRECTORY = "/bus"
CACHE_DIRECTORY = "/cache"
CREDENTIALS_DIRECTORY = "/etc/s3mount/credentials"
# Two minutes for a bucket that is slow to answer; wrong credentials end the process much earlier.
_STARTUP_SECONDS = 120
# Journals, listings and what is in flight come on top of the cache's own limit.
_CACHE_SLACK = 64 * 2**20


def is_reserved(name: str) -> bool:
    """Whether a container or volume of this name could only be ours."""
    return name == RESERVED or name.startswith(RESERVED + "-")


def sidecars(wanted: Wanted, platform: Platform, *, ambient: bool) -> list[dict[str, Any]]:
    """The native sidecars of a pod, in the order they have to start.

    `ambient`: whether mounts without a Secret may use the node's credentials.
    """
    return [_sidecar(mount, wanted, platform, ambient=ambient) for mount in wanted.mounts]


def volumes(wanted: Wanted) -> list[dict[str, Any]]:
    """The volumes the sidecars and the application share, or the sidecars have for themselves."""
    total = sum(mount.cache_size for mount in wanted.mounts)
    # A tenth more: eviction at exactly the cache's own limit would punish a cache doing its job.
    limit = -(-(total + total // 10 + _CACHE_SLACK) // 2**20) * 2**20
    return [
        {"name": BUS, "emptyDir": {}},
        {"name": CACHE, "emptyDir": {"sizeLimit": format_bytes(limit)}},
        *(
            {
                "name": _credentials_volume(mount),
                "secret": {"secretName": mount.secret, "defaultMode": 0o444},
            }
            for mount in wanted.mounts
            if mount.secret
        ),
    ]


def application_mount(mount: MountSpec) -> dict[str, Any]:
    """How a container of the application gets the bucket: a plain bind of the live mount."""
    found: dict[str, Any] = {"name": BUS, "mountPath": mount.path, "subPath": mount.name}
    return found | {"readOnly": True} if mount.read_only else found


def _credentials_volume(mount: MountSpec) -> str:
    return CREDENTIALS if mount.name == UNNAMED else f"{CREDENTIALS}-{mount.name}"


def _sidecar(
    mount: MountSpec, wanted: Wanted, platform: Platform, *, ambient: bool
) -> dict[str, Any]:
    name = RESERVED if mount.name == UNNAMED else f"{RESERVED}-{mount.name}"
    container: dict[str, Any] = {
        "name": name,
        "image": platform.image,
        "imagePullPolicy": platform.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["python", "-m", "fusefs"],
        "args": [_literal(argument) for argument in _arguments(mount)],
        **_environment([mount], ambient=ambient),
        "securityContext": {"privileged": True, "runAsUser": 0, "runAsNonRoot": False},
        "startupProbe": _probe("probe", f"{BUS_DIRECTORY}/{mount.name}"),
        "volumeMounts": _volume_mounts(mount),
    }
    resources = wanted.worker.rendered()
    return container | {"resources": resources} if resources else container


def _arguments(mount: MountSpec) -> list[str]:
    options = {
        "--endpoint-url": mount.endpoint,
        "--region": mount.region,
        "--cache-dir": f"{CACHE_DIRECTORY}/{mount.name}",
        "--cache-size": str(mount.cache_size),
        "--uid": str(mount.uid),
        "--gid": str(mount.gid),
        "--file-mode": mount.file_mode,
        "--dir-mode": mount.dir_mode,
        "--metadata": mount.metadata,
        "--attr-ttl": str(mount.attr_ttl),
        "--credentials-dir": f"{CREDENTIALS_DIRECTORY}/{mount.name}" if mount.secret else None,
        "-o": mount.options or None,
    }
    source = f"{mount.bucket}/{mount.prefix}" if mount.prefix else mount.bucket
    flags = ["--allow-other", *(["--read-only"] if mount.read_only else [])]
    pairs = [(name, value) for name, value in options.items() if value is not None]
    return [
        "mount",
        source,
        f"{BUS_DIRECTORY}/{mount.name}",
        *flags,
        *(s for p in pairs for s in p),
    ]


def _environment(mounts: list[MountSpec], *, ambient: bool) -> dict[str, list[dict[str, str]]]:
    """Without the policy's leave the SDK must not fall back to the node's credentials."""
    if ambient and not all(mount.secret for mount in mounts):
        return {}
    return {"env": [{"name": "AWS_EC2_METADATA_DISABLED", "value": "true"}]}


def _volume_mounts(mount: MountSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": BUS, "mountPath": BUS_DIRECTORY, "mountPropagation": "Bidirectional"},
        {"name": CACHE, "mountPath": CACHE_DIRECTORY},
    ]
    if mount.secret:
        path = f"{CREDENTIALS_DIRECTORY}/{mount.name}"
        found.append({"name": _credentials_volume(mount), "mountPath": path, "readOnly": True})
    return found


def _probe(*arguments: str) -> dict[str, Any]:
    return {
        "exec": {"command": ["python", "-m", "fusefs", *arguments]},
        "periodSeconds": 1,
        "timeoutSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": _STARTUP_SECONDS,
    }


def _literal(text: str) -> str:
    """Text the kubelet leaves alone: it expands `$(NAME)` in args and env; `$$` is a dollar."""
    return text.replace("$", "$$")
