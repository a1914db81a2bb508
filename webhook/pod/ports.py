"""The port of a pod on which its worker serves metrics, if any.

All containers of a pod share one network, and the worker starts before the application: on a common
port the application would fail. So there are no metrics if a container declares the port, nor on
the host's network, where all pods of a node would use the same one. Pure functions.
"""

from typing import Any

from webhook.injected import WORKER
from webhook.pod.containers import is_reserved
from webhook.pods import items
from webhook.problems import Problem

_REMEDY = "Use another port, or ask the platform team for another S3MOUNT_WORKER_METRICS_PORT"


def metrics_port(spec: dict[str, Any], port: int | None) -> int | None:
    """Return the port for this pod's metrics, None for no metrics; `port` is the platform's.

    A worker that is in the pod already keeps its port.
    """
    if port is None or spec.get("hostNetwork"):
        return None
    worker = _worker(spec)
    if worker is not None:
        return port if items(worker, "ports") else None
    return None if rivals(spec, port) else port


def rivals(spec: dict[str, Any], port: int | None) -> list[str]:
    """Return foreign containers that declare the port."""
    if port is None:
        return []
    return [
        container["name"]
        for container in (*items(spec, "initContainers"), *items(spec, "containers"))
        for item in items(container, "ports")
        if item.get("containerPort") == port
        and item.get("protocol") in (None, "", "TCP")
        and not is_reserved(container["name"])
    ]


def port_problems(spec: dict[str, Any], port: int | None) -> list[Problem]:
    """Return problems of containers that were added after the worker and declare its port."""
    if port is None or _worker(spec) is None:
        return []
    rule = "the mount's worker is in this pod already and serves its metrics there"
    return [
        Problem(f"container {name}: ports", str(port), rule, _REMEDY) for name in rivals(spec, port)
    ]


def _worker(spec: dict[str, Any]) -> dict[str, Any] | None:
    found = [item for item in items(spec, "initContainers") if item["name"] == WORKER]
    return found[0] if found else None
