"""Injects mounts into a pod: a pure function from a pod and its mounts to a changed copy.

The desired state is compared container by container on every call: present parts stay, missing ones
are added, so a second call changes nothing and a container added by a later webhook gets its mount.
The given pod is never changed; the copy shares every unchanged part.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from webhook.platform.resources import Resources
from webhook.platform.settings import Platform
from webhook.pod.additions import normal_path
from webhook.pod.budget import has_storage_limit, within_pod
from webhook.pod.containers import BUCKET, BUS, CACHE, SOCKET, is_reserved, volumes
from webhook.pod.equipment import Equip, Equipment, Facts, equipment
from webhook.pod.identity import with_identity
from webhook.pod.nodecache import shares
from webhook.pod.placement import Container, Place, places, start_index
from webhook.pod.ports import metrics_port, port_problems
from webhook.pod.repairs import Repairs, add_sidecars, add_volumes, settle_sidecars
from webhook.pods import Pod, annotations, items, section
from webhook.problems import Problem, example
from webhook.spec.annotations import STATUS
from webhook.spec.mountspec import MountSpec, Wanted

# The only values of a user that are replaced; everything else is added. Containers and volumes with
# our names are reset as a whole, see `Injection.replaced`.
REPLACEABLE = frozenset(
    {"/spec/terminationGracePeriodSeconds", "/metadata/annotations/s3.mount~1injected"}
)
# The cluster autoscaler removes no node with a pod that has local volumes, save those named here;
# those in memory don't count.
_EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
_LEAVE_OUT = "Leave it out"
_BUCKETS = f"{BUCKET}-"
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class Injection:
    """The pod with its mounts, or the problems; with problems the pod must not be used.

    `places` are the given pod's containers. `replaced`: pointers to our containers and volumes that
    were reset; `undone`: the same for people, each the name of a container or volume and its
    fields. `equipment`: what the pod got.
    """

    pod: Pod
    problems: list[Problem]
    places: list[Place]
    replaced: frozenset[str] = frozenset()
    undone: tuple[str, ...] = ()
    equipment: Equipment = Equipment()  # noqa: RUF009 - frozen


def inject(
    pod: Pod,
    wanted: Wanted,
    platform: Platform,
    most: Resources,
    *,
    ambient: bool,
    published: Mapping[str, Mapping[str, str]],
    equip: Equip,
) -> Injection:
    """Return the pod that would run, and every problem found.

    `most` are the maxima for sidecars that are in the pod already; `published`: the attributes of
    the volumes of node mode, by the mount's name; `equip`: what remembers the equipment for these
    mounts under these settings.
    """
    problems: list[Problem] = []
    repairs = Repairs()
    spec = dict(pod["spec"])
    start = start_index(spec, platform.mesh_containers)
    found = list(places(spec, start))
    port = metrics_port(spec, platform.worker_metrics_port)
    asked = wanted
    wanted, platform, little = within_pod(spec, asked, platform)
    facts = Facts(ambient, port, shares(pod, platform), has_storage_limit(spec))
    ours = equip(facts) if wanted is asked else equipment(wanted, platform, facts)
    problems += _name_problems(found, wanted, start)
    problems += _volume_use_problems(found, ours)
    problems += _path_problems(found, wanted.mounts, platform)
    problems += port_problems(spec, port)
    problems += little
    _mount_applications(spec, found, ours, platform)
    # The identity is copied when we add the worker; later it is its webhook's business.
    added = [*ours.sidecars[:-1], with_identity(ours.sidecars[-1], spec, wanted)]
    add_sidecars(spec, added, start, problems)
    settle_sidecars(spec, ours.sidecars, most, repairs, problems)
    needed = volumes(wanted, platform, published) if platform.by_node else ours.volumes
    add_volumes(spec, needed, repairs, problems)
    _add_pull_secrets(spec, platform)
    _add_node_selector(spec, platform, problems)
    _raise_grace(spec, wanted, platform)
    metadata = _with_annotations(pod, wanted, platform, ours.status)
    replaced = REPLACEABLE | repairs.pointers
    done = {**pod, "metadata": metadata, "spec": spec}
    return Injection(done, problems, found, replaced, tuple(repairs.descriptions), ours)


def _with_annotations(pod: Pod, wanted: Wanted, platform: Platform, status: str) -> dict[str, Any]:
    ours = {STATUS: status}
    if all(mount.read_only for mount in wanted.mounts):
        # A read-only cache can be lost; a pod's own value stays.
        lost = f"{CACHE},{SOCKET}" if platform.by_node else CACHE
        ours |= {_EVICTABLE: lost} if _EVICTABLE not in annotations(pod) else {}
    return section(pod, "metadata") | {"annotations": annotations(pod) | ours}


def _name_problems(found: list[Place], wanted: Wanted, start: int) -> list[Problem]:
    """Return problems of listed containers that don't exist, or end before the mount exists."""
    early = {place.name for place in found if place.early}
    late = [place.name for place in found if not place.early]
    problems = []
    for mount in wanted.mounts:
        listed = mount.containers or ()
        for name in [name for name in listed if name not in late][:_SHOWN_NAMES]:
            rule = f"the pod has no container {name!r}"
            if name in early:
                rule = f"init container {name!r} runs before the mount: move it behind the mesh"
            where = mount.key("containers")
            remedy = example(f'{where}: "{",".join(late[:_SHOWN_NAMES])}"')
            problems.append(Problem(where, ",".join(listed), rule, remedy))
    return problems


def _volume_use_problems(found: list[Place], equipped: Equipment) -> list[Problem]:
    """Return problems of containers that mount our volumes themselves, such as credentials."""
    ours = [item for _, item in equipped.mounts]
    return [
        Problem(
            f"container {place.name}: volumeMounts {item['mountPath']}",
            item["name"],
            "is a volume of s3mount's own: a container gets its bucket by annotation only",
            "Remove this volumeMount",
        )
        for place in found
        for item in items(place.container, "volumeMounts")
        if is_reserved(item["name"]) and item not in ours
    ]


def _path_problems(
    found: list[Place], mounts: tuple[MountSpec, ...], platform: Platform
) -> list[Problem]:
    """Return problems of mounts at, above or below another mount of the same container."""
    problems = []
    closed = _Closed()
    taken = [(place, list(_taken(place.container, closed))) for place in found]
    for number, mount in enumerate(mounts):
        clashes: dict[str, list[str]] = {}
        wanted = f"{mount.path}/"
        for place, own in taken:
            if not place.gets(mount, platform.mesh_containers):
                continue
            earlier = [m for m in mounts[:number] if place.gets(m, platform.mesh_containers)]
            others = [(f"{m.path}/", "mount", m.name) for m in earlier]
            for path, kind, name in own + others if others else own:
                if path.startswith(wanted) or wanted.startswith(path):
                    clash = f"{path.rstrip('/') or '/'} ({kind} {name})"
                    clashes.setdefault(clash, []).append(place.name)
        for clash, names in clashes.items():
            rule = f"is equal to, above or below the mount at {clash} in {_listed(names)}"
            remedy = example(f'{mount.key("path")}: "/mnt/{mount.name}"')
            problems.append(Problem(mount.key("path"), mount.path, rule, remedy))
    return problems


class _Closed(dict[str, str]):
    """Paths as they are mounted, with a slash at the end: containers often have the same."""

    def __missing__(self, path: str) -> str:
        normal = normal_path(path)
        self[path] = normal if normal == "/" else f"{normal}/"
        return self[path]


def _taken(container: Container, closed: _Closed) -> Iterator[tuple[str, str, str]]:
    """Yield the path with a slash at its end, the kind and the name of a container's own mounts."""
    for item in items(container, "volumeMounts"):
        name = item["name"]
        if name != BUS and not name.startswith(_BUCKETS):
            yield closed[item["mountPath"]], "volume", name
    for item in items(container, "volumeDevices"):
        yield closed[item["devicePath"]], "device", item["name"]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    noun = "container" if len(names) == 1 else "containers"
    return f"{noun} {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _mount_applications(
    spec: dict[str, Any], found: list[Place], equipped: Equipment, platform: Platform
) -> None:
    lists = {field: list(items(spec, field)) for field in {place.field for place in found}}
    mesh = platform.mesh_containers
    for place in found:
        present = items(place.container, "volumeMounts")
        missing = [
            item
            for mount, item in equipped.mounts
            if item not in present and place.gets(mount, mesh)
        ]
        if missing:
            changed = {**place.container, "volumeMounts": [*present, *missing]}
            lists[place.field][place.at] = changed
    spec.update(lists)


def _add_pull_secrets(spec: dict[str, Any], platform: Platform) -> None:
    present = items(spec, "imagePullSecrets")
    needed = [{"name": name} for name in platform.image_pull_secrets]
    missing = [item for item in needed if item not in present]
    if missing:
        spec["imagePullSecrets"] = [*present, *missing]


def _add_node_selector(spec: dict[str, Any], platform: Platform, problems: list[Problem]) -> None:
    present = section(spec, "nodeSelector")
    needed = dict(platform.node_selector)
    for key, value in needed.items():
        if present.get(key, value) != value:
            rule = f"the platform runs mounted pods on nodes with {key}={value}"
            problems.append(Problem(f"spec.nodeSelector.{key}", present[key], rule, _LEAVE_OUT))
    if needed.keys() - present.keys():
        spec["nodeSelector"] = needed | present


def _raise_grace(spec: dict[str, Any], wanted: Wanted, platform: Platform) -> None:
    """Raise the grace period of a pod with a writable mount, for its last uploads."""
    if all(mount.read_only for mount in wanted.mounts):
        return
    grace = spec.get("terminationGracePeriodSeconds")
    if (30 if grace is None else grace) < platform.minimum_grace:
        spec["terminationGracePeriodSeconds"] = platform.minimum_grace
