"""Pods inside other objects: the pod templates of Deployments, Jobs, CronJobs and others.

For the command line only; the server receives pods only. Pure functions.
"""

from collections.abc import Iterator
from typing import Any

from webhook.pods import Pod

_TEMPLATE = ("spec", "template")
_PATHS: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Deployment": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "DaemonSet": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "Job": _TEMPLATE,
}


def flattened(documents: list[Any]) -> Iterator[Any]:
    """Yield the documents, a List's items in its place."""
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            found = document.get("items")
            yield from flattened(found if isinstance(found, list) else [])
        else:
            yield document


def pod_of(document: Any) -> Pod | None:
    """Return the pod or pod template in an object; None if it has none."""
    found = document
    path = _PATHS.get(_kind(document))
    for key in path or ():
        found = found.get(key) if isinstance(found, dict) else None
    return found if path is not None and isinstance(found, dict) else None


def with_pod(document: Any, pod: Pod) -> Any:
    """Return a copy of the object with another pod in it."""
    return _replaced(document, _PATHS[_kind(document)], pod)


def namespace_of(document: Any, default: str) -> str:
    """Return an object's namespace."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    found = metadata.get("namespace") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) and found else default


def namespace_labels(documents: list[Any]) -> dict[str, dict[str, str]]:
    """Return the labels of the Namespaces among the objects, by name."""
    found = {}
    for document in documents:
        metadata = document.get("metadata") if _kind(document) == "Namespace" else None
        if isinstance(metadata, dict):
            labels = metadata.get("labels")
            found[str(metadata.get("name"))] = labels if isinstance(labels, dict) else {}
    return found


def label(document: Any) -> str:
    """Return `Kind/name`, for messages."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{_kind(document) or 'document'}/{name or '?'}"


def misplaced(document: Any, domain: str) -> bool:
    """Return whether a workload itself has annotations of ours, which its pods don't get."""
    if not _PATHS.get(_kind(document)):
        return False
    metadata = document.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(found, dict) and any(str(key).lower().startswith(domain) for key in found)


def _kind(document: Any) -> str:
    kind = document.get("kind") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) else ""


def _replaced(value: Any, path: tuple[str, ...], pod: Pod) -> Any:
    if not path:
        return pod
    return {**value, path[0]: _replaced(value[path[0]], path[1:], pod)}
