"""Containers and volumes with our names that are in the pod already: kept, reset or refused.

A review sees earlier injections again: after other webhooks, from a replica of another version, in
a restored backup, in a copied pod; and containers written by hand. Every field of a sidecar is
ours. A foreign change that is *harmless*, by a closed list, is kept; others are *undone*, reset to
our value; a change that no general webhook would make is *refused*: it could run foreign code with
our rights. docs/compatibility.md has the table. Pure functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from webhook.injected import CONFIG
from webhook.parse.quantities import parse_bytes, parse_millicores
from webhook.platform.resources import Resources
from webhook.pod.additions import is_known_variable, is_token_mount, normal_path

Container = dict[str, Any]
# Without influence on what runs: image pull, termination message, resizing.
_KEPT = {"imagePullPolicy", "resources", "terminationMessagePolicy", "resizePolicy"}
# The API server fills these in.
_DEFAULTS = {"terminationMessagePath": "/dev/termination-log", "stdin": False, "tty": False}
# A change of these in our container would run other code in it.
_FATAL = {"image", "command", "restartPolicy", "volumeDevices"}
# These choose the code of an interpreter, or the endpoints and CAs that the SDK trusts.
_STEERING = ("LD_", "PYTHON", "S3MOUNT_", "AWS_", "PATH", "HOME", "GLIBC_")
# Set by webhooks that give every container a company's CA, or by us for another policy or version.
_UNDONE_VARIABLES = {"AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED", CONFIG}
_QUANTITIES: dict[str, Callable[[str], int]] = {
    "cpu": parse_millicores,
    "memory": parse_bytes,
    "ephemeral-storage": parse_bytes,
}


@dataclass(frozen=True)
class Settled:
    """The container for the pod; the fields that were reset; the fields that are refused."""

    item: dict[str, Any]
    undone: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def settle(
    found: Container, wanted: Container, volumes: list[dict[str, Any]], most: Resources
) -> Settled:
    """Return the container as it may run. `volumes` are the pod's, `most` the worker's maxima."""
    if found == wanted:
        return Settled(found)
    if is_other_version(found, wanted):
        mine = wanted | {key: found[key] for key in ("env", "volumeMounts") if key in found}
        settled = settle(mine, wanted, volumes, most)
        return Settled(settled.item, ("image", *settled.undone), settled.refused)
    undone, refused = [], []
    merged = dict(wanted)
    for key in sorted(found.keys() | wanted.keys()):
        value = found.get(key)
        if key in ("env", "volumeMounts"):
            more, names, bad = _added(key, found, wanted, volumes)
            merged[key] = [*wanted.get(key, []), *more]
            undone += [f"{key} {name}" for name in names]
            refused += [key] if bad else []
        elif _is_kept(key, value, wanted.get(key), most):
            merged |= {key: value}
        elif not _same(key, value, wanted.get(key)):
            (refused if key in _FATAL else undone).append(key)
    if refused or not undone:
        return Settled(found, (), tuple(refused))
    return Settled({key: value for key, value in merged.items() if value}, tuple(undone))


def is_other_version(found: Container, wanted: Container) -> bool:
    """Return whether a container runs another version of our image: then it is replaced."""
    images = found.get("image") or "", wanted["image"]
    return images[0] != images[1] and _repository(images[0]) == _repository(images[1])


def _repository(image: str) -> str:
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _same(key: str, found: Any, wanted: Any) -> bool:
    """Return whether a field has our value; absent, null, empty and default are the same."""
    if key == "securityContext" and isinstance(found, dict):
        found = {name: each for name, each in found.items() if (name, each) != _PROC_MOUNT}
    if not wanted:
        return found in (None, [], {}, "") or found == _DEFAULTS.get(key)
    return bool(found == wanted)


_PROC_MOUNT = ("procMount", "Default")


def _is_kept(key: str, found: Any, wanted: Any, most: Resources) -> bool:
    if key == "resources":
        return _fits(found or {}, wanted or {}, most)
    return key in _KEPT and bool(found)


def _fits(found: Any, wanted: Mapping[str, Any], most: Resources) -> bool:
    """Return whether resources are ones that a LimitRange or an autoscaler may set.

    Our limits are present, no value is above the maxima, no other resource is named.
    """
    if not isinstance(found, dict) or found.keys() - {"requests", "limits"}:
        return False
    limits = found.get("limits") or {}
    if wanted.get("limits", {}).keys() - limits.keys():
        return False
    return all(
        _within(name, quantity, part, wanted, most)
        for part in ("request", "limit")
        for name, quantity in (found.get(f"{part}s") or {}).items()
    )


def _within(
    name: str, quantity: Any, part: str, wanted: Mapping[str, Any], most: Resources
) -> bool:
    parse = _QUANTITIES.get(name)
    if parse is None:
        return False
    ours = wanted.get(f"{part}s", {}).get(name)
    if quantity == ours:
        return True
    highest: int | None = getattr(most, f"{name}_{part}", None)
    try:
        value: int = parse(str(quantity))
        least: int = parse(ours) if ours else 0
    except ValueError:
        return False
    return highest is None or value <= max(highest, least)


def _added(
    key: str, found: Container, wanted: Container, volumes: list[dict[str, Any]]
) -> tuple[list[Any], list[str], bool]:
    """Return a list's kept additions, the names of those undone, and whether one is refused."""
    label = "name" if key == "env" else "mountPath"
    items, ours = found.get(key) or [], wanted.get(key) or []
    places = [item[label] if key == "env" else normal_path(item[label]) for item in items]
    bad = len(places) != len(set(places))
    kept, undone = [], [item[label] for item in ours if item not in items]
    for item in items:
        if item in ours:
            continue
        if is_known_variable(item) if key == "env" else is_token_mount(item, volumes):
            kept.append(item)
        else:
            bad = bad or _is_dangerous(key, item)
            undone.append(item[label])
    return kept, list(dict.fromkeys(undone)), bad


def _is_dangerous(key: str, item: dict[str, Any]) -> bool:
    """Return whether an addition targets our container, unlike one made to every container."""
    if key == "volumeMounts":
        path: str = item["mountPath"]
        return normal_path(path) != path.rstrip("/")
    name: str = item["name"]
    return name.startswith(_STEERING) and name not in _UNDONE_VARIABLES


def settle_volume(found: dict[str, Any], wanted: dict[str, Any]) -> Settled:
    """Return a volume of ours: unchanged, reset if of the same kind, or refused."""
    if found == wanted:
        return Settled(found)
    kinds = {key for key, value in found.items() if value is not None}
    if kinds == wanted.keys():
        return Settled(wanted, ("volume",))
    return Settled(found, (), ("volume",))
