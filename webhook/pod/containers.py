"""The containers and volumes of a mounted pod, as dictionaries: the contract with the image.

All that the kubelet runs is defined here: names, commands, volumes, security contexts. Their place
in the pod is `injection`'s. Pure functions.

Names are public and stable: containers `s3-mount-keeper` and `s3-mount-worker`; volumes
`s3-mount-bus`, `s3-mount-socket`, `s3-mount-cache`, `s3-mount-no-token`, `s3-mount-credentials`
and `s3-mount-credentials-NAME`; the worker's port `s3mount-metrics`. Both containers serve all
mounts of the pod; the JSON document in `S3MOUNT_CONFIG` describes them.

In node mode there is neither the keeper nor the bus: the node's plugin makes each mount as an
inline CSI volume `s3-mount-bucket-NAME`.
"""

import json
from collections.abc import Mapping
from typing import Any

from webhook.injected import CONFIG, KEEPER, METRICS, WORKER, literal
from webhook.parse.quantities import format_bytes
from webhook.platform.settings import Platform
from webhook.pod.memory import buffers
from webhook.spec.mountspec import UNNAMED, MountSpec, Wanted

# This name, and every name that begins with it and a dash, is reserved for us.
RESERVED = "s3-mount"
BUS = "s3-mount-bus"
SOCKET = "s3-mount-socket"
CACHE = "s3-mount-cache"
CREDENTIALS = "s3-mount-credentials"
BUCKET = "s3-mount-bucket"
DRIVER = "s3.mount"
EMPTY = "s3-mount-no-token"
BUS_DIRECTORY = "/bus"
# The mounts are in a tmpfs of their own in the bus (`fusefs.keeper.partition`), `.gate/mounts`; no
# mount has such a name. The worker gets the directory without the tmpfs: a subPath is not bound
# recursively.
_GATE = ".gate"
SOCKET_DIRECTORY = "/run/s3mount"
CACHE_DIRECTORY = "/cache"
# Where the node's plugin answers the worker about its cache, for each mount.
_NODE_CACHE = SOCKET_DIRECTORY + "/cache-{}.sock"
CREDENTIALS_DIRECTORY = "/etc/s3mount/credentials"
# Where the API server mounts the token of the pod's service account, unless something is there.
ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
CONFIG_VERSION = 1
# nobody: owns no file on the node, in the image or in the pod.
_NOBODY = 65534
# Two minutes for a slow store; wrong credentials end the worker much earlier.
_STARTUP_SECONDS = 120
# Looks of one startup probe: so many of them 0.05 s apart, the others 0.25 s. Each costs a process,
# and 20 pods that start together would spend a quarter of two cores on looking.
_LOOKS, _QUICK_LOOKS = 96, 20
_LOOKING_SECONDS = 20
# Longer than any grace period: the kubelet limits a drain, and bytes that aren't in S3 by then are
# lost with the pod.
_DRAIN_TIME = "24h"
# Journals and data in flight come on top of the cache's own limit.
_CACHE_SLACK = 64 * 2**20
_GATE_MOUNT = {"name": BUS, "mountPath": "/gate", "subPath": _GATE}
_EMPTY_MOUNT = {"name": EMPTY, "mountPath": ACCOUNT_DIRECTORY, "readOnly": True}


def is_reserved(name: str) -> bool:
    """Return whether a container's or volume's name is reserved for us."""
    return name.startswith(RESERVED) and (name == RESERVED or name[len(RESERVED)] == "-")


def sidecars(
    wanted: Wanted,
    platform: Platform,
    *,
    ambient: bool,
    metrics_port: int | None,
    shares: bool = False,
) -> list[dict[str, Any]]:
    """Return the native sidecars of a pod, in their start order; in node mode only the worker.

    `ambient`: whether mounts without a Secret may use the node's credentials. `metrics_port`: the
    port of the worker's metrics, None for no metrics. `shares`: whether its mounts use the cache of
    the node.
    """
    mounts = [_served(mount) | {"memoryLimit": buffers(wanted)} for mount in wanted.mounts]
    if shares:
        mounts = [each | {"nodeCache": _NODE_CACHE.format(each["name"])} for each in mounts]
    worker = _worker(wanted, platform, mounts, ambient=ambient, metrics_port=metrics_port)
    return [worker] if platform.by_node else [_keeper(wanted, platform), worker]


def volumes(
    wanted: Wanted, platform: Platform, published: Mapping[str, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Return the volumes of the sidecars, some of them shared with the application.

    `published`: in node mode, the attributes of each mount's volume, by the mount's name.
    """
    return [
        *(_published(wanted, published) if platform.by_node else _bus()),
        {"name": CACHE, "emptyDir": {"sizeLimit": format_bytes(cache_volume_size(wanted))}},
        # Empty: it covers the token, which neither sidecar uses.
        {"name": EMPTY, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        *(
            {
                "name": _credentials_volume(mount),
                "secret": {"secretName": mount.secret, "defaultMode": 0o444},
            }
            for mount in wanted.mounts
            if mount.secret
        ),
    ]


def _bus() -> list[dict[str, Any]]:
    """Return the volumes for the mounts and the sockets of a pod with a keeper of its own."""
    return [
        # In memory: a kubelet that tears down a pod unmounts this first, gets EBUSY and stops. An
        # emptyDir on disk is emptied first, through the mount: that would delete the objects.
        {"name": BUS, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        # Sockets, no data.
        {"name": SOCKET, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]


def _published(wanted: Wanted, attributes: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the mounts that the node's plugin makes, and the volume of its socket."""
    return [
        *(
            {
                "name": f"{BUCKET}-{mount.name}",
                "csi": {
                    "driver": DRIVER,
                    **({"readOnly": True} if mount.read_only else {}),
                    "volumeAttributes": dict(attributes[mount.name]),
                },
            }
            for mount in wanted.mounts
        ),
        # On disk: the plugin may come before the kubelet, whose tmpfs would cover its socket, and a
        # tmpfs with a socket that somebody listens on can't be unmounted.
        {"name": SOCKET, "emptyDir": {"sizeLimit": "1Mi"}},
    ]


def cache_volume_size(wanted: Wanted) -> int:
    """Return the size limit of the caches' volume in bytes."""
    total = sum(mount.cache_size for mount in wanted.mounts)
    # A tenth more than the cache's own limit, up to which it may fill.
    return -(-(total + total // 10 + _CACHE_SLACK) // 2**20) * 2**20


def application_mount(mount: MountSpec, platform: Platform) -> dict[str, Any]:
    """Return an application's volumeMount: a plain bind of the live mount."""
    found: dict[str, Any] = {"name": BUS, "mountPath": mount.path, "subPath": mount.name}
    if platform.by_node:
        found = {"name": f"{BUCKET}-{mount.name}", "mountPath": mount.path}
    return found | {"readOnly": True} if mount.read_only else found


def _credentials_volume(mount: MountSpec) -> str:
    return CREDENTIALS if mount.name == UNNAMED else f"{CREDENTIALS}-{mount.name}"


def _keeper(wanted: Wanted, platform: Platform) -> dict[str, Any]:
    """Return the keeper: it mounts and holds the descriptor; privileged, without credentials."""
    partition = f"{BUS_DIRECTORY}/{_GATE}/mounts"
    mounts = [_kept(mount) | {"partition": partition} for mount in wanted.mounts]
    return _container(
        KEEPER,
        platform,
        args=["keeper", "--hold"],
        env=[_config(mounts)],
        securityContext=_KEEPER_SECURITY,
        startupProbe=_KEEPER_STARTUP,
        volumeMounts=[
            {"name": BUS, "mountPath": BUS_DIRECTORY, "mountPropagation": "Bidirectional"},
            {"name": SOCKET, "mountPath": SOCKET_DIRECTORY},
            _EMPTY_MOUNT,
        ],
        resources=platform.keeper_resources.rendered(),
    )


def _worker(
    wanted: Wanted,
    platform: Platform,
    mounts: list[dict[str, Any]],
    *,
    ambient: bool,
    metrics_port: int | None,
) -> dict[str, Any]:
    """Return the worker: it has the credentials and serves the mounts; unprivileged."""
    return _container(
        WORKER,
        platform,
        args=[
            "worker",
            "--supervise",
            "--drain-time",
            _DRAIN_TIME,
            *_metrics_arguments(metrics_port),
        ],
        ports=_metrics_ports(metrics_port),
        env=[_config(mounts), *_metadata_guard(wanted.mounts, ambient=ambient)],
        securityContext=_WORKER_SECURITY,
        startupProbe=_WORKER_STARTUP,
        readinessProbe=_WORKER_READINESS,
        volumeMounts=[
            *([] if platform.by_node else [_GATE_MOUNT]),
            {"name": SOCKET, "mountPath": SOCKET_DIRECTORY},
            {"name": CACHE, "mountPath": CACHE_DIRECTORY},
            _EMPTY_MOUNT,
            *(_credentials_mount(mount) for mount in wanted.mounts if mount.secret),
        ],
        resources=wanted.worker.rendered(),
    )


def _metrics_arguments(port: int | None) -> list[str]:
    return [] if port is None else ["--metrics-port", str(port)]


def _metrics_ports(port: int | None) -> list[dict[str, Any]]:
    """Return the declared port of the metrics, by whose name Prometheus finds the target."""
    if port is None:
        return []
    return [{"name": METRICS, "containerPort": port, "protocol": "TCP"}]


def _container(name: str, platform: Platform, **fields: Any) -> dict[str, Any]:
    """Return the fields of both sidecars; empty ones are left out, as the API server does."""
    return {
        "name": name,
        "image": platform.image,
        "imagePullPolicy": platform.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["python", "-m", "fusefs"],
        # A killed process writes no termination message.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **{key: value for key, value in fields.items() if value},
    }


def _config(mounts: list[dict[str, Any]]) -> dict[str, str]:
    document = {"version": CONFIG_VERSION, "mounts": mounts}
    text = _encode(document)
    return {"name": CONFIG, "value": literal(text)}


def _kept(mount: MountSpec) -> dict[str, Any]:
    """Return the keeper's configuration of a mount."""
    return {
        "name": mount.name,
        "mountpoint": f"{BUS_DIRECTORY}/{mount.name}",
        "readOnly": mount.read_only,
    }


def _served(mount: MountSpec) -> dict[str, Any]:
    """Return the worker's configuration: bytes, seconds, null for the SDK's default."""
    return _kept(mount) | {
        "bucket": mount.bucket,
        "prefix": mount.prefix,
        "endpoint": mount.endpoint,
        "region": mount.region,
        "uid": mount.uid,
        "gid": mount.gid,
        "fileMode": mount.file_mode,
        "dirMode": mount.dir_mode,
        "metadata": mount.metadata,
        "cacheDir": f"{CACHE_DIRECTORY}/{mount.name}",
        "cacheSize": mount.cache_size,
        "attrTtl": mount.attr_ttl,
        "options": mount.options,
        "credentialsDir": f"{CREDENTIALS_DIRECTORY}/{mount.name}" if mount.secret else None,
        **dict(mount.settings),
    }


def _metadata_guard(mounts: tuple[MountSpec, ...], *, ambient: bool) -> list[dict[str, str]]:
    """Return the variable that keeps the SDK from the node's credentials, unless allowed."""
    if ambient and not all(mount.secret for mount in mounts):
        return []
    return [{"name": "AWS_EC2_METADATA_DISABLED", "value": "true"}]


def _credentials_mount(mount: MountSpec) -> dict[str, Any]:
    path = f"{CREDENTIALS_DIRECTORY}/{mount.name}"
    return {"name": _credentials_volume(mount), "mountPath": path, "readOnly": True}


def _startup_probe(part: str) -> dict[str, Any]:
    """Return a probe of a file in the socket volume (`fusefs.probefiles`); it starts no Python.

    The probe itself looks again and again, so a start takes what it takes and makes no Unhealthy
    event. There is no liveness probe: the kubelet ends a container by SIGTERM, at which
    a keeper unmounts and a worker refuses writes. Each container's first process restarts instead.
    """
    ready = f"{SOCKET_DIRECTORY}/{part}.ready"
    wait = (
        f"i=0; until [ -e {ready} ]; do i=$((i+1)); [ $i -lt {_LOOKS} ] || exit 1; "
        f"[ $i -lt {_QUICK_LOOKS} ] && sleep 0.05 || sleep 0.25; done"
    )
    return {
        "exec": {"command": ["sh", "-c", wait]},
        "periodSeconds": 1,
        "timeoutSeconds": _LOOKING_SECONDS + 10,
        "successThreshold": 1,
        "failureThreshold": _STARTUP_SECONDS // _LOOKING_SECONDS,
    }


def _probe(command: list[str], *, period: int) -> dict[str, Any]:
    return {
        "exec": {"command": command},
        "periodSeconds": period,
        "timeoutSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 1,
    }


# The same for every pod, so they are made once.
_KEEPER_SECURITY = {
    "privileged": True,
    "runAsUser": 0,
    "runAsGroup": 0,
    "runAsNonRoot": False,
    "readOnlyRootFilesystem": True,
}
_WORKER_SECURITY = {
    "privileged": False,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsUser": _NOBODY,
    "runAsGroup": _NOBODY,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_KEEPER_STARTUP, _WORKER_STARTUP = _startup_probe("keeper"), _startup_probe("worker")
# A mount that was lost with both containers is not ready again; the keeper's end alone is nobody's
# loss. Each probe costs the node a process, so there are few.
_WORKER_READINESS = _probe(["test", "-e", f"{SOCKET_DIRECTORY}/worker.ready"], period=30)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
