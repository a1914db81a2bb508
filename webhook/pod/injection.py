"""Puts mounts into a pod: a pure function from a pod and what it wants to a changed copy.

Desired state, compared container by container on every call: what is there already stays as it is,
what is missing is added, so a second call changes nothing and a container added by a later webhook
gets its mount. The pod given is never changed; the copy shares every part that stays the same.
"""

import json
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from webhook import __version__
from webhook.parse.boundedcache import bounded_cache
from webhook.platform import Platform
from webhook.pod.containers import BUS, application_mount, is_reserved, sidecars, volumes
from webhook.pod.existing import differences
from webhook.pod.identity import with_identity
from webhook.pod.placement import Container, Place, places, start_index
from webhook.pod.ports import metrics_port, port_problems
from webhook.pods import Pod, annotations, items, section
from webhook.problems import Problem, example
from webhook.spec.annotations import STATUS
from webhook.spec.mountspec import MountSpec, Wanted

# The only values of a user's that are ever replaced; everything else is added.
REPLACEABLE = frozenset(
    {"/spec/terminationGracePeriodSeconds", "/metadata/annotations/s3.mount~1injected"}
)
_RENAME = "Remove it, or give it another name"
_LEAVE_OUT = "Leave it out"
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class Injection:
    """The pod with its mounts, or what is in their way; with problems the pod is not to be used."""

    pod: Pod
    problems: list[Problem]


def inject(pod: Pod, wanted: Wanted, platform: Platform, *, ambient: bool) -> Injection:
    """The pod that would run, and every obstacle to it found on the way."""
    problems: list[Problem] = []
    spec = dict(pod["spec"])
    start = start_index(spec, platform.mesh_containers)
    found = list(places(spec, start))
    problems += _name_problems(found, wanted, start)
    problems += _volume_use_problems(found, wanted.mounts)
    problems += _path_problems(found, wanted.mounts, platform)
    _mount_applications(spec, found, wanted.mounts, platform)
    port = metrics_port(spec, platform.worker_metrics_port)
    problems += port_problems(spec, port)
    keeper, worker = sidecars(wanted, platform, ambient=ambient, metrics_port=port)
    # An identity counts when we add the worker; in one that is there it is its webhook's business.
    added = [keeper, with_identity(worker, spec, wanted)]
    _add_sidecars(spec, [keeper, worker], added, start, problems)
    _add_volumes(spec, volumes(wanted), problems)
    _add_pull_secrets(spec, platform)
    _add_node_selector(spec, platform, problems)
    _raise_grace(spec, wanted, platform)
    changed = {"metadata": _with_status(pod, wanted), "spec": spec}
    return Injection({**pod, **changed}, problems)


def status(wanted: Wanted) -> str:
    """What the status annotation says: version and mounts, as JSON on one line."""
    mounts = {mount.name: f"{mount.source}:{mount.path}" for mount in wanted.mounts}
    return json.dumps({"version": __version__, "mounts": mounts}, separators=(",", ":"))


def _with_status(pod: Pod, wanted: Wanted) -> dict[str, Any]:
    return section(pod, "metadata") | {
        "annotations": annotations(pod) | {STATUS: status(wanted)},
    }


def _name_problems(found: list[Place], wanted: Wanted, start: int) -> list[Problem]:
    """Containers that are listed and don't exist, or have ended before the mount exists."""
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


def _volume_use_problems(found: list[Place], mounts: tuple[MountSpec, ...]) -> list[Problem]:
    """Containers that mount a volume of ours otherwise than we do, credentials above all."""
    ours = [application_mount(mount) for mount in mounts]
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
    """Mounts whose path meets another mount of the same container: equal, above or below it."""
    problems = []
    for number, mount in enumerate(mounts):
        clashes: dict[str, list[str]] = {}
        for place in found:
            if not place.gets(mount, platform.mesh_containers):
                continue
            earlier = [m for m in mounts[:number] if place.gets(m, platform.mesh_containers)]
            for path, owner in _taken(place.container, earlier):
                if _overlap(path, mount.path):
                    clashes.setdefault(f"{path} ({owner})", []).append(place.name)
        for clash, names in clashes.items():
            rule = f"is equal to, above or below the mount at {clash} in {_listed(names)}"
            remedy = example(f'{mount.key("path")}: "/mnt/{mount.name}"')
            problems.append(Problem(mount.key("path"), mount.path, rule, remedy))
    return problems


def _taken(container: Container, earlier: Iterable[MountSpec]) -> Iterable[tuple[str, str]]:
    for item in items(container, "volumeMounts"):
        if item["name"] != BUS:
            yield _normal(item["mountPath"]), f"volume {item['name']}"
    for item in items(container, "volumeDevices"):
        yield _normal(item["devicePath"]), f"device {item['name']}"
    for mount in earlier:
        yield mount.path, f"mount {mount.name}"


@bounded_cache
def _normal(path: str) -> str:
    """The place the container runtime makes of a path."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one.rstrip("/") + "/")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    noun = "container" if len(names) == 1 else "containers"
    return f"{noun} {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _mount_applications(
    spec: dict[str, Any], found: list[Place], mounts: tuple[MountSpec, ...], platform: Platform
) -> None:
    lists = {field: list(items(spec, field)) for field in {place.field for place in found}}
    for place in found:
        needed = [application_mount(m) for m in mounts if place.gets(m, platform.mesh_containers)]
        present = items(place.container, "volumeMounts")
        missing = [item for item in needed if item not in present]
        if missing:
            changed = {**place.container, "volumeMounts": [*present, *missing]}
            lists[place.field][place.index] = changed
    spec.update(lists)


def _add_sidecars(
    spec: dict[str, Any],
    needed: list[Container],
    added: list[Container],
    start: int,
    problems: list[Problem],
) -> None:
    """Put in what isn't there, as in `added`; what is there has to be as in `needed`."""
    containers = list(items(spec, "initContainers"))
    for offset, container in enumerate(needed):
        present = [item for item in containers if item["name"] == container["name"]]
        if not present:
            containers.insert(start + offset, added[offset])
        elif strange := differences(present[0], container):
            problems.append(_stranger(container["name"], f"differs in {', '.join(strange)}"))
    if containers:
        spec["initContainers"] = containers
    wanted = {container["name"] for container in needed}
    problems += _strangers(spec, wanted)


def _strangers(spec: dict[str, Any], wanted: set[str]) -> list[Problem]:
    """Containers with a name of ours that the pod doesn't need, or where none of ours belongs."""
    inits = [c["name"] for c in items(spec, "initContainers")]
    extra = [name for name in inits if is_reserved(name) and name not in wanted]
    extra += [name for name in wanted if inits.count(name) > 1]
    extra += [c["name"] for c in items(spec, "containers") if is_reserved(c["name"])]
    return [_stranger(name, "isn't one of this pod's sidecars") for name in sorted(set(extra))]


def _stranger(name: str, detail: str) -> Problem:
    rule = f"the name is reserved for s3mount, and this container {detail}"
    return Problem(f"container {name}", None, rule, _RENAME)


def _add_volumes(
    spec: dict[str, Any], needed: list[dict[str, Any]], problems: list[Problem]
) -> None:
    present = items(spec, "volumes")
    names = {volume["name"] for volume in needed}
    for volume in present:
        if is_reserved(volume["name"]) and volume not in needed:
            detail = "differs from ours" if volume["name"] in names else "isn't one of ours"
            rule = f"the name is reserved for s3mount, and this volume {detail}"
            problems.append(Problem(f"volume {volume['name']}", None, rule, _RENAME))
    missing = [volume for volume in needed if volume not in present]
    if missing:
        spec["volumes"] = [*present, *missing]


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
    """A writable mount needs time to upload what is dirty; the API's default is 30 s."""
    if all(mount.read_only for mount in wanted.mounts):
        return
    grace = spec.get("terminationGracePeriodSeconds")
    if (30 if grace is None else grace) < platform.minimum_grace:
        spec["terminationGracePeriodSeconds"] = platform.minimum_grace
