"""Our own containers and volumes in a pod: added where missing, reset where changed.

`existing` decides which foreign changes stay. These functions change the given spec; `Repairs`
belongs to one review.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from webhook.injected import KEEPER, WORKER
from webhook.platform.resources import Resources
from webhook.pod.containers import is_reserved
from webhook.pod.existing import settle, settle_volume
from webhook.pods import items
from webhook.problems import Problem

Container = dict[str, Any]
_RENAME = "Remove it, or give it another name"
_NEIGHBOUR = (
    "Remove it; if nobody put it there, another admission webhook changed it: keep that one off "
    "containers and volumes named s3-mount-*, see docs/compatibility.md"
)


class Repairs:
    """The resets of one review: pointers for the patch, and sentences for people."""

    def __init__(self) -> None:
        self.pointers: frozenset[str] = frozenset()
        self.descriptions: list[str] = []

    def note(self, pointer: str, name: str, fields: Iterable[str]) -> None:
        """Note that these fields of a container or volume were reset."""
        self.pointers |= {pointer}
        self.descriptions.append(f"{name}: {', '.join(fields)}")


def add_sidecars(
    spec: dict[str, Any], added: list[Container], start: int, problems: list[Problem]
) -> None:
    """Add missing sidecars; surplus ones, or another order, are problems."""
    containers = list(items(spec, "initContainers"))
    for offset, container in enumerate(added):
        if all(item["name"] != container["name"] for item in containers):
            containers.insert(start + offset, container)
    if containers:
        spec["initContainers"] = containers
    names = [container["name"] for container in containers]
    problems += _strangers(spec, {container["name"] for container in added})
    both = {KEEPER, WORKER} <= {container["name"] for container in added}
    if both and names.index(WORKER) < names.index(KEEPER):
        rule = f"comes before {KEEPER}, whose mount it waits for: neither would ever start"
        problems.append(Problem(f"init container {WORKER}", None, rule, _NEIGHBOUR))


def settle_sidecars(
    spec: dict[str, Any],
    needed: Sequence[Container],
    most: Resources,
    repairs: Repairs,
    problems: list[Problem],
) -> None:
    """Reset every container with a name of ours; a foreign one is refused."""
    ours = {container["name"]: container for container in needed}
    containers = list(items(spec, "initContainers"))
    for index, found in enumerate(containers):
        if (wanted := ours.get(found["name"])) is None:
            continue
        settled = settle(found, wanted, items(spec, "volumes"), most)
        if settled.refused:
            detail = f"differs in {', '.join(settled.refused)}"
            problems.append(_stranger(found["name"], detail, _NEIGHBOUR))
        elif settled.undone:
            repairs.note(f"/spec/initContainers/{index}", found["name"], settled.undone)
            containers[index] = settled.item
    if containers:
        spec["initContainers"] = containers


def _strangers(spec: dict[str, Any], wanted: set[str]) -> list[Problem]:
    """Return problems of containers with our names, unneeded or at a wrong place."""
    inits = [c["name"] for c in items(spec, "initContainers")]
    extra = [name for name in inits if is_reserved(name) and name not in wanted]
    extra += [name for name in wanted if inits.count(name) > 1]
    extra += [c["name"] for c in items(spec, "containers") if is_reserved(c["name"])]
    return [_stranger(name, "isn't one of this pod's sidecars") for name in sorted(set(extra))]


def _stranger(name: str, detail: str, remedy: str = _RENAME) -> Problem:
    rule = f"the name is reserved for s3mount, and this container {detail}"
    return Problem(f"container {name}", None, rule, remedy)


def add_volumes(
    spec: dict[str, Any],
    needed: Sequence[dict[str, Any]],
    repairs: Repairs,
    problems: list[Problem],
) -> None:
    """Add missing volumes, and reset those with a name of ours and of the same kind."""
    present = list(items(spec, "volumes"))
    ours = {volume["name"]: volume for volume in needed}
    for index, found in enumerate(present):
        name = found["name"]
        if not is_reserved(name):
            continue
        settled = settle_volume(found, ours[name]) if name in ours else None
        if settled is None or settled.refused:
            strange = ("isn't one of ours", _RENAME)
            detail, remedy = strange if settled is None else ("is of another kind", _NEIGHBOUR)
            rule = f"the name is reserved for s3mount, and this volume {detail}"
            problems.append(Problem(f"volume {name}", None, rule, remedy))
        elif settled.undone:
            repairs.note(f"/spec/volumes/{index}", name, settled.undone)
            present[index] = settled.item
    names = {volume["name"] for volume in present}
    missing = [volume for volume in needed if volume["name"] not in names]
    if present or missing:
        spec["volumes"] = [*present, *missing]
