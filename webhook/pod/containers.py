"""The containers and volumes a mounted pod gets, as dictionaries: the contract with the image.

Everything the kubelet will run is spelt out here and nowhere else: names, commands, volumes,
security contexts. Where they go in the pod is `sidecar`'s business. Pure functions.

Names are public and stable: containers `s3-mount-keeper` and `s3-mount-worker`; volumes
`s3-mount-bus`, `s3-mount-socket`, `s3-mount-cache`, `s3-mount-no-token`, `s3-mount-credentials`
and `s3-mount-credentials-NAME`; the worker's port `s3mount-metrics`. Both containers serve all
mounts of the pod and are told about them by one JSON document in `S3MOUNT_CONFIG`.
"""

import json
from typing import Any

from webhook.parse.quantities import format_bytes
from webhook.platform.settings import Platform
from webhook.pod.memory import buffers
from webhook.spec.mountspec import UNNAMED, MountSpec, Wanted

# Every container and volume name that is this or begins with this and a dash is ours.
RESERVED = "s3-mount"
KEEPER = "s3-mount-keeper"
WORKER = "s3-mount-worker"
BUS = "s3-mount-bus"
SOCKET = "s3-mount-socket"
CACHE = "s3-mount-cache"
CREDENTIALS = "s3-mount-credentials"
EMPTY = "s3-mount-no-token"
METRICS = "s3mount-metrics"
BUS_DIRECTORY = "/bus"
SOCKET_DIRECTORY = "/run/s3mount"
CACHE_DIRECTORY = "/cache"
CREDENTIALS_DIRECTORY = "/etc/s3mount/credentials"
# Where the API server mounts the token of the pod's service account, unless something is there.
ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
CONFIG_VERSION = 1
# nobody: owns nothing on the node, in the image or in the pod.
_NOBODY = 65534
# Two minutes for a bucket that is slow to answer; wrong credentials end the worker much earlier.
_STARTUP_SECONDS = 120
_LOOKS = 400  # of one startup probe, a twentieth of a second apart
# Longer than any grace period: how long a drain may take is the kubelet's to say, and what isn't in
# S3 when the worker ends is gone with the pod.
_DRAIN_TIME = "24h"
# Journals, listings and what is in flight come on top of the cache's own limit.
_CACHE_SLACK = 64 * 2**20
_EMPTY_MOUNT = {"name": EMPTY, "mountPath": ACCOUNT_DIRECTORY, "readOnly": True}


def is_reserved(name: str) -> bool:
    """Whether a container or volume of this name could only be ours."""
    return name.startswith(RESERVED) and (name == RESERVED or name[len(RESERVED)] == "-")


def sidecars(
    wanted: Wanted, platform: Platform, *, ambient: bool, metrics_port: int | None
) -> list[dict[str, Any]]:
    """The native sidecars of a pod, in the order they have to start.

    `ambient`: whether mounts without a Secret may use the node's credentials. `metrics_port`: where
    the worker serves its metrics; None for nowhere.
    """
    worker = _worker(wanted, platform, ambient=ambient, metrics_port=metrics_port)
    return [_keeper(wanted, platform), worker]


def volumes(wanted: Wanted) -> list[dict[str, Any]]:
    """The volumes the sidecars and the application share, or the sidecars have for themselves."""
    return [
        # In memory: a kubelet that comes back to a deleted pod unmounts this first, is told EBUSY
        # and stops. An emptyDir on disk it empties first, through the mount: the bucket's objects.
        {"name": BUS, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        # A socket, no data.
        {"name": SOCKET, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": CACHE, "emptyDir": {"sizeLimit": format_bytes(cache_volume_size(wanted))}},
        # Nothing: in the place of a token neither sidecar has a use for.
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


def cache_volume_size(wanted: Wanted) -> int:
    """Bytes that the volume of all caches may take."""
    total = sum(mount.cache_size for mount in wanted.mounts)
    # A tenth more: eviction at exactly the cache's own limit would punish a cache doing its job.
    return -(-(total + total // 10 + _CACHE_SLACK) // 2**20) * 2**20


def application_mount(mount: MountSpec) -> dict[str, Any]:
    """How a container of the application gets the bucket: a plain bind of the live mount."""
    found: dict[str, Any] = {"name": BUS, "mountPath": mount.path, "subPath": mount.name}
    return found | {"readOnly": True} if mount.read_only else found


def _credentials_volume(mount: MountSpec) -> str:
    return CREDENTIALS if mount.name == UNNAMED else f"{CREDENTIALS}-{mount.name}"


def _keeper(wanted: Wanted, platform: Platform) -> dict[str, Any]:
    """Mounts and keeps what is mounted; privileged, and therefore without credentials or S3."""
    mounts = [_kept(mount) for mount in wanted.mounts]
    return _container(
        KEEPER,
        platform,
        args=["keeper", "--hold"],
        env=[_config(mounts)],
        securityContext={
            "privileged": True,
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "readOnlyRootFilesystem": True,
        },
        startupProbe=_startup_probe("keeper"),
        volumeMounts=[
            {"name": BUS, "mountPath": BUS_DIRECTORY, "mountPropagation": "Bidirectional"},
            {"name": SOCKET, "mountPath": SOCKET_DIRECTORY},
            _EMPTY_MOUNT,
        ],
        resources=platform.keeper.rendered(),
    )


def _worker(
    wanted: Wanted, platform: Platform, *, ambient: bool, metrics_port: int | None
) -> dict[str, Any]:
    """Has the credentials and talks to S3; unprivileged, whatever the pod says of its own."""
    mounts = [_served(mount) | {"memoryLimit": buffers(wanted)} for mount in wanted.mounts]
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
        securityContext={
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        startupProbe=_startup_probe("worker"),
        # A mount that was lost with both containers is not ready again; the keeper's end alone is
        # nobody's loss. Each probe costs the node a process, so there are few.
        readinessProbe=_probe(["test", "-e", f"{SOCKET_DIRECTORY}/worker.ready"], period=30),
        volumeMounts=[
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
    """Named for Prometheus, which finds targets by the ports that containers declare."""
    if port is None:
        return []
    return [{"name": METRICS, "containerPort": port, "protocol": "TCP"}]


def _container(name: str, platform: Platform, **fields: Any) -> dict[str, Any]:
    """What both have in common; empty fields are left out, as the API server would."""
    return {
        "name": name,
        "image": platform.image,
        "imagePullPolicy": platform.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["python", "-m", "fusefs"],
        # A process that was killed leaves no message of its own.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **{key: value for key, value in fields.items() if value},
    }


def _config(mounts: list[dict[str, Any]]) -> dict[str, str]:
    document = {"version": CONFIG_VERSION, "mounts": mounts}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return {"name": "S3MOUNT_CONFIG", "value": _literal(text)}


def _kept(mount: MountSpec) -> dict[str, Any]:
    """What the keeper needs to know of a mount."""
    return {
        "name": mount.name,
        "mountpoint": f"{BUS_DIRECTORY}/{mount.name}",
        "readOnly": mount.read_only,
    }


def _served(mount: MountSpec) -> dict[str, Any]:
    """What the worker needs to know: sizes in bytes, times in seconds, null for the SDK's own."""
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
    """Without the policy's leave the SDK must not fall back to the node's credentials."""
    if ambient and not all(mount.secret for mount in mounts):
        return []
    return [{"name": "AWS_EC2_METADATA_DISABLED", "value": "true"}]


def _credentials_mount(mount: MountSpec) -> dict[str, Any]:
    path = f"{CREDENTIALS_DIRECTORY}/{mount.name}"
    return {"name": _credentials_volume(mount), "mountPath": path, "readOnly": True}


def _startup_probe(part: str) -> dict[str, Any]:
    """Ask by a file of the socket volume (`fusefs.probefiles`): no probe starts a Python.

    The probe itself looks twenty times a second, so a start costs what it takes and tells no
    Unhealthy event. There is no liveness probe: the kubelet ends a container by SIGTERM, at which
    a keeper unmounts and a worker refuses writes. First processes of their own see to that.
    """
    ready = f"{SOCKET_DIRECTORY}/{part}.ready"
    wait = (
        f"i=0; until [ -e {ready} ]; do i=$((i+1)); [ $i -lt {_LOOKS} ] || exit 1; sleep 0.05; done"
    )
    return {
        "exec": {"command": ["sh", "-c", wait]},
        "periodSeconds": 1,
        "timeoutSeconds": _LOOKS // 20 + 10,
        "successThreshold": 1,
        "failureThreshold": _STARTUP_SECONDS * 20 // _LOOKS,
    }


def _probe(command: list[str], *, period: int) -> dict[str, Any]:
    return {
        "exec": {"command": command},
        "periodSeconds": period,
        "timeoutSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 1,
    }


def _literal(text: str) -> str:
    """Text the kubelet leaves alone: it expands `$(NAME)` in args and env; `$$` is a dollar."""
    return text.replace("$", "$$")
