"""Warnings about a pod that works, but badly. The pod is allowed all the same.

The API server sends a warning to the creator of the pod and asks for at most 120 characters.
Pure functions; the order is fixed, so that the same pod gets the same answer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from webhook.parse.quantities import format_bytes
from webhook.platform.settings import Platform
from webhook.pod.memory import needed
from webhook.pod.placement import Place
from webhook.pod.ports import rivals
from webhook.pods import Pod, annotations, items, section
from webhook.review.lookup import Lookup
from webhook.spec.annotations import DOMAIN, INJECTION
from webhook.spec.mountspec import MountSpec, Wanted

# The API server may drop longer ones (k8s.io/api/admission/v1, AdmissionResponse.Warnings).
LONGEST = 120
_MOST_MISPLACED = 5
# A cautious estimate of one pod's upload, 32 MiB/s. Dirty data is at most the cache's size.
_UPLOAD_RATE = 32 * 2**20


@dataclass(frozen=True)
class Advice:
    """A reason for metrics, and a sentence for people."""

    reason: str
    text: str

    def __str__(self) -> str:
        return self.text if len(self.text) <= LONGEST else self.text[: LONGEST - 1] + "…"


def misplaced(pod: Pod) -> Iterator[Advice]:
    """Return warnings of our keys at wrong places: among the labels, or not in lower case."""
    for key in sorted(annotations(pod)):
        if key.lower().startswith(DOMAIN) and not key.startswith(DOMAIN):
            yield Advice("misplaced", f"{key} does nothing: its beginning has to be {DOMAIN}")
            break
    labels = section(section(pod, "metadata"), "labels")
    for key in sorted(key for key in labels if key.startswith(DOMAIN))[:_MOST_MISPLACED]:
        if key == INJECTION:
            yield Advice(
                "misplaced", f"{key} is a label for the namespace; on a pod it does nothing"
            )
        else:
            yield Advice("misplaced", f"{key} is a label of the pod; it has to be an annotation")


def undone(changes: Iterable[str]) -> Iterator[Advice]:
    """Return warnings of foreign changes to our containers and volumes that were reset."""
    for change in changes:
        yield Advice("undone", f"changed by others and put back: {change}")


def advice(
    pod: Pod,
    found: list[Place],
    wanted: Wanted,
    platform: Platform,
    namespace: str,
    lookup: Lookup,
) -> Iterator[Advice]:
    """Return all warnings about a pod that gets its mounts; `found` are its containers."""
    spec = pod["spec"]
    yield from misplaced(pod)
    yield from _resources(found, wanted, platform)
    yield from _grace(spec, wanted, platform)
    yield from _order(spec, found, wanted, platform)
    yield from _metrics(spec, platform)
    for mount in wanted.mounts:
        yield from _mount(mount, namespace, lookup)
        yield from _owner(spec, found, mount, platform)
    for field in ("shareProcessNamespace", "hostPID"):
        if spec.get(field):
            text = f"{field} lets processes of the pod see and signal those of the mount"
            yield Advice("shared-processes", text)


def _resources(found: list[Place], wanted: Wanted, platform: Platform) -> Iterator[Advice]:
    if wanted.worker.unset:
        text = "the mount has no resource requests: it is the first to starve on a busy node"
        yield Advice("no-resources", text)
    yield from _memory(wanted)
    keeper = platform.by_node or platform.keeper_resources.guaranteed
    ours = wanted.worker.guaranteed and keeper
    users = (section(place.container, "resources") for place in found)
    if found and not ours and all(map(_guaranteed, users)):
        text = "the pod is no longer Guaranteed: the mount's containers have requests unlike limits"
        yield Advice("not-guaranteed", text)


def _memory(wanted: Wanted) -> Iterator[Advice]:
    limit = wanted.worker.memory_limit
    if limit is not None and limit < needed(wanted):
        count = "1 mount" if len(wanted.mounts) == 1 else f"{len(wanted.mounts)} mounts"
        least = format_bytes(needed(wanted))
        text = f"{DOMAIN}memory-limit {format_bytes(limit)} is little for {count}: better {least}"
        yield Advice("little-memory", text)


def _guaranteed(resources: dict[str, Any]) -> bool:
    limits = section(resources, "limits")
    requests = limits | section(resources, "requests")
    return all(name in limits and requests[name] == limits[name] for name in ("cpu", "memory"))


def _grace(spec: dict[str, Any], wanted: Wanted, platform: Platform) -> Iterator[Advice]:
    dirty = sum(mount.cache_size for mount in wanted.mounts if not mount.read_only)
    needed = dirty // _UPLOAD_RATE
    grace = spec.get("terminationGracePeriodSeconds")
    grace = max(30 if grace is None else grace, platform.minimum_grace)
    if dirty and needed > grace:
        text = (
            f"uploading a full cache can take {needed} s, terminationGracePeriodSeconds is {grace}"
        )
        yield Advice("short-grace", text)


def _order(
    spec: dict[str, Any], found: list[Place], wanted: Wanted, platform: Platform
) -> Iterator[Advice]:
    mesh = platform.mesh_containers
    if wanted.mounts and all(mount.containers is None for mount in wanted.mounts):
        for place in found:
            if place.early and place.name not in mesh:
                text = f"init container {place.name} runs before the mount and doesn't see it"
                yield Advice("early-container", text)
    for container in items(spec, "containers"):
        if container["name"] in mesh:
            text = f"{container['name']} starts after the mount: better make it a native sidecar"
            yield Advice("late-mesh", text)


def _metrics(spec: dict[str, Any], platform: Platform) -> Iterator[Advice]:
    port = platform.worker_metrics_port
    if not spec.get("hostNetwork") and (names := rivals(spec, port)):
        text = f"port {port} is taken by container {names[0]}: this mount serves no metrics"
        yield Advice("no-metrics", text)


def _mount(mount: MountSpec, namespace: str, lookup: Lookup) -> Iterator[Advice]:
    if mount.secret and lookup.has_secret(namespace, mount.secret) is False:
        text = f"Secret {mount.secret} doesn't exist (yet): the pod waits for it"
        yield Advice("no-secret", text)
    if mount.endpoint and mount.endpoint.startswith("http://"):
        text = f"{mount.key('endpoint')} is http: data travels unencrypted"
        yield Advice("unencrypted", text)


def _owner(
    spec: dict[str, Any], found: list[Place], mount: MountSpec, platform: Platform
) -> Iterator[Advice]:
    """Return a warning of a container whose user can't write to the mount."""
    if mount.read_only or int(mount.dir_mode, 8) & 0o002:
        return
    pod_user = section(spec, "securityContext").get("runAsUser")
    for place in found:
        user = section(place.container, "securityContext").get("runAsUser", pod_user)
        if user and user != mount.uid and place.gets(mount, platform.mesh_containers):
            whose = f"{mount.path} belongs to {mount.uid}"
            text = f"{place.name} runs as {user}, but {whose}: set s3.mount/uid"
            yield Advice("owner", text)
