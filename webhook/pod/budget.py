"""The sidecars' requests and limits, within those of the pod.

The cache is on the node's disk: it is requested, so that the scheduler counts it, and limited only
if another container of the pod has a limit, since the kubelet adds up the limits and evicts the pod
above the sum. If the pod has resources as a whole (`spec.resources`), the sidecars request what the
other containers leave. Pure functions.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from webhook.injected import KEEPER
from webhook.parse.quantities import format_bytes, parse_bytes, parse_millicores
from webhook.parse.values import SMALLEST_MEMORY
from webhook.platform.resources import Resources
from webhook.platform.settings import Platform
from webhook.pod.containers import cache_volume_size, is_reserved
from webhook.pods import items, section
from webhook.problems import Problem
from webhook.spec.mountspec import Wanted

Container = dict[str, Any]
STORAGE = "ephemeral-storage"
# The keeper writes log lines only.
_KEEPER_STORAGE = {"requests": 8 * 2**20, "limits": 64 * 2**20}
_PARSERS: dict[str, Callable[[str], int]] = {"cpu": parse_millicores, "memory": parse_bytes}


def has_storage_limit(spec: dict[str, Any]) -> bool:
    """Return whether a container of the pod's own has a limit of ephemeral storage."""
    return any(STORAGE in section(section(c, "resources"), "limits") for c in _others(spec))


def with_storage(
    sidecar: Container, wanted: Wanted, platform: Platform, *, limited: bool
) -> Container:
    """Return the sidecar with its ephemeral storage; `limited`: with a limit, too."""
    cache = cache_volume_size(wanted)
    sizes = _KEEPER_STORAGE if sidecar["name"] == KEEPER else dict.fromkeys(_KEEPER_STORAGE, cache)
    resources = dict(section(sidecar, "resources"))
    for part, counts in (("requests", platform.request_storage), ("limits", limited)):
        if counts:
            resources[part] = section(resources, part) | {STORAGE: format_bytes(sizes[part])}
    return sidecar | {"resources": resources} if resources else sidecar


def within_pod(
    spec: dict[str, Any], wanted: Wanted, platform: Platform
) -> tuple[Wanted, Platform, list[Problem]]:
    """Return both sidecars' resources, capped by those of the pod as a whole, and problems."""
    whole = section(spec, "resources")
    if not whole:
        return wanted, platform, []
    worker = wanted.worker
    keeper = Resources() if platform.by_node else platform.keeper_resources
    problems: list[Problem] = []
    for name in _PARSERS:
        limit = _quantity(whole, "limits", name)
        request = _quantity(whole, "requests", name)
        request = limit if request is None else request
        if request is not None:
            left = max(0, request - sum(_asked(c, name) for c in _others(spec)))
            keeper = _capped(keeper, f"{name}_request", left)
            left -= getattr(keeper, f"{name}_request") or 0
            worker = _capped(worker, f"{name}_request", left)
        if limit is not None:
            keeper = _capped(keeper, f"{name}_limit", limit)
            worker = _capped(worker, f"{name}_limit", limit)
            if name == "memory" and limit < SMALLEST_MEMORY:
                problems.append(_too_little(format_bytes(limit)))
    if not platform.by_node:
        platform = platform.replaced(keeper=keeper)
    return replace(wanted, worker=worker), platform, problems


def _too_little(limit: str) -> Problem:
    rule = f"the mount's worker is inside this limit and needs {format_bytes(SMALLEST_MEMORY)}"
    return Problem("spec.resources.limits.memory", limit, rule, "Raise it, or leave it out")


def _others(spec: dict[str, Any]) -> Iterator[Container]:
    for container in (*items(spec, "containers"), *items(spec, "initContainers")):
        if not is_reserved(container["name"]):
            yield container


def _asked(container: Container, name: str) -> int:
    """Return a container's request; a limit alone is a request, too."""
    resources = section(container, "resources")
    request = _quantity(resources, "requests", name)
    return request if request is not None else _quantity(resources, "limits", name) or 0


def _quantity(resources: dict[str, Any], part: str, name: str) -> int | None:
    try:
        return _PARSERS[name](str(section(resources, part)[name]))
    except (KeyError, ValueError):
        return None  # the API server itself refuses an invalid quantity


def _capped(resources: Resources, field: str, most: int) -> Resources:
    value = getattr(resources, field)
    # Zero, not None: Kubernetes takes a limit without a request as the request.
    return resources if value is None or value <= most else replace(resources, **{field: most})
