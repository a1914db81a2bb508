"""Pods as plain dictionaries, whose shape is checked once for the fields that we use.

Typed models would drop fields they don't know, so there are none. After `shape_problems` returned
nothing the rest of the package may index without checks: absent, null and empty are the same, and
each present field has its type. Pure functions.
"""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from webhook.problems import Problem

Pod = dict[str, Any]

MOST_CONTAINERS = 500
MOST_VOLUMES = 1000
MOST_VOLUME_MOUNTS = 5000
# A namespace has at most 63 characters, a name 253; neither is validated yet.
_LONGEST_TITLE = 317
# More of them don't help a reader.
_MOST_PROBLEMS = 20
_STRINGS = {"*": str}
_CONTAINER = {
    "name": str,
    "image": str,
    "restartPolicy": str,
    "command": [str],
    "args": [str],
    "env": [{"name": str}],
    "ports": [{"containerPort": int, "protocol": str}],
    "volumeMounts": [{"name": str, "mountPath": str, "subPath": str}],
    "volumeDevices": [{"name": str, "devicePath": str}],
    "securityContext": {"runAsUser": int, "runAsGroup": int},
    "resources": {"requests": dict, "limits": dict},
}
_TERM = {"matchExpressions": [{"key": str, "operator": str, "values": [str]}]}
_SHAPE = {
    "metadata": {
        "name": str,
        "generateName": str,
        "namespace": str,
        "labels": _STRINGS,
        "annotations": _STRINGS,
        "ownerReferences": [{"kind": str, "name": str}],
    },
    "spec": {
        "containers": [_CONTAINER],
        "initContainers": [_CONTAINER],
        "volumes": [{"name": str}],
        "imagePullSecrets": [dict],
        "nodeSelector": _STRINGS,
        "securityContext": {"runAsUser": int, "runAsGroup": int, "fsGroup": int},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_TERM]}
            }
        },
        "os": {"name": str},
        "resources": {"requests": dict, "limits": dict},
        "schedulerName": str,
        "runtimeClassName": str,
        "terminationGracePeriodSeconds": int,
        "hostUsers": bool,
        "hostNetwork": bool,
        "hostPID": bool,
        "shareProcessNamespace": bool,
    },
}
_REQUIRED = {"name", "mountPath", "devicePath"}
_TYPES = {str: "text", int: "a number", bool: "true or false", dict: "an object", list: "a list"}


def shape_problems(pod: Pod) -> list[Problem]:
    """Return a problem for each field of a wrong type; none for a pod of the Kubernetes API."""
    found: list[Problem] = []
    if _FITS(pod) and pod.get("spec"):
        return found
    _walk(pod, _SHAPE, "", found)
    if not found and not pod.get("spec"):
        found.append(Problem("spec", None, "is missing", "A pod has a spec with containers"))
    return found


def size_problems(pod: Pod) -> list[Problem]:
    """Return problems of pods that are too large for any node, before time is spent on them."""
    spec = section(pod, "spec")
    containers = [*items(spec, "containers"), *items(spec, "initContainers")]
    mounts = sum(len(items(container, "volumeMounts")) for container in containers)
    counts = (
        ("spec.containers", len(containers), MOST_CONTAINERS),
        ("spec.volumes", len(items(spec, "volumes")), MOST_VOLUMES),
        ("spec.containers: volumeMounts", mounts, MOST_VOLUME_MOUNTS),
    )
    return [
        Problem(where, str(count), f"must be at most {most} for a pod with mounts", "Split the pod")
        for where, count, most in counts
        if count > most
    ]


def _fits(shape: Any, *, needs: bool = False) -> Callable[[Any], bool]:
    """Return a fast check for one shape, which is true for all but a few in a million pods.

    Built once for a shape, without a call for each of the many small objects of a list. `needs`:
    whether the object is an item of a list, in which some fields are required.
    """
    if type(shape) is type:
        return lambda value: type(value) is shape
    if shape is _STRINGS:
        return lambda value: type(value) is dict and _are(str, value.values())
    if type(shape) is list:
        return _list_fits(shape[0])
    fields = [(key, _fits(below), needs and key in _REQUIRED) for key, below in shape.items()]

    def fits(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for key, check, needed in fields:
            found = value.get(key)
            if found is None:
                if needed:
                    return False
            elif not check(found):
                return False
        return True

    return fits


def _list_fits(shape: Any) -> Callable[[Any], bool]:
    """Return the same for a list of objects of a shape."""
    if type(shape) is type:
        return lambda value: type(value) is list and _are(shape, value)
    if not all(type(below) is type for below in shape.values()):
        check = _fits(shape, needs=True)
        return lambda value: type(value) is list and all(map(check, value))
    fields = [(key, kind, key in _REQUIRED) for key, kind in shape.items()]
    if len(fields) == 1:
        return _named_fit(*fields[0][:2])

    def fits(value: Any) -> bool:
        if type(value) is not list:
            return False
        for item in value:
            if type(item) is not dict:
                return False
            for key, kind, needed in fields:
                found = item.get(key)
                if (found is None and needed) or (found is not None and type(found) is not kind):
                    return False
        return True

    return fits


def _named_fit(key: str, kind: type) -> Callable[[Any], bool]:
    """Return the same for a list of objects with one required field: variables, of which are many.

    Without a loop in Python.
    """
    pick = itemgetter(key)

    def fits(value: Any) -> bool:
        try:
            return type(value) is list and _are(dict, value) and _are(kind, map(pick, value))
        except KeyError:
            return False

    return fits


def _are(kind: type, values: Iterable[Any]) -> bool:
    return {kind}.issuperset(map(type, values))


_FITS = _fits(_SHAPE)


def _walk(value: Any, shape: Any, where: str, found: list[Problem]) -> None:
    wanted: type = shape if isinstance(shape, type) else type(shape)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        rule = f"must be {_TYPES[wanted]}"
        remedy = "Put it in quotes" if wanted is str else "See the Kubernetes API"
        found.append(Problem(where.lstrip(".") or "pod", None, rule, remedy))
    elif isinstance(shape, list) and isinstance(value, list):
        for index, item in enumerate(value):
            if len(found) >= _MOST_PROBLEMS:
                return
            _walk(item, shape[0], f"{where}[{index}]", found)
    elif isinstance(shape, dict) and isinstance(value, dict):
        for key, below in shape.items():
            for name in value if key == "*" else [key]:
                _member(value, name, below, where, found)


def _member(value: Any, name: str, shape: Any, where: str, found: list[Problem]) -> None:
    if value.get(name) is not None:
        _walk(value[name], shape, f"{where}.{name}", found)
    elif name in _REQUIRED and where.endswith("]") and shape is str:
        found.append(Problem(f"{where}.{name}".lstrip("."), None, "is missing", "Give it one"))


def section(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the object at a key; absent and null are an empty one."""
    return mapping.get(key) or {}


def items(mapping: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the list at a key; absent and null are an empty one."""
    return mapping.get(key) or []


def annotations(pod: Pod) -> dict[str, str]:
    """Return the pod's annotations, null values included."""
    return section(section(pod, "metadata"), "annotations")


def title(pod: Pod, namespace: str) -> str:
    """Return `namespace/name`, with a star for the suffix of a generated name."""
    metadata = section(pod, "metadata")
    name = metadata.get("name") or f"{metadata.get('generateName') or ''}*"
    return f"{namespace}/{name}"[:_LONGEST_TITLE]
