"""The sidecars' place in a pod, and the containers of each mount.

Containers start in the order of `initContainers`: those before the sidecars can't have a mount, and
the sidecars can't reach S3 while a mesh redirects the network and its proxy isn't up.
Pure functions.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from webhook.pod.containers import is_reserved
from webhook.pods import items
from webhook.spec.mountspec import MountSpec

Container = dict[str, Any]


class Place(NamedTuple):
    """One container of the pod: `spec.<field>[at]`; `early` ones end before a mount exists."""

    field: str
    at: int
    container: Container
    early: bool
    name: str

    def gets(self, mount: MountSpec, mesh: Collection[str]) -> bool:
        """Return whether this container gets the mount: mesh proxies only if named."""
        if self.early:
            return False
        if mount.containers is None:
            return self.name not in mesh
        return self.name in mount.containers


def places(spec: dict[str, Any], start: int) -> Iterator[Place]:
    """Yield all containers but our own, given the index where our sidecars start."""
    for field in ("initContainers", "containers"):
        for index, container in enumerate(items(spec, field)):
            name = container["name"]
            if not is_reserved(name):
                early = field == "initContainers" and index < start
                yield Place(field, index, container, early, name)


def start_index(spec: dict[str, Any], mesh: Collection[str]) -> int:
    """Return the index in `initContainers` where the sidecars are, or have to be inserted.

    Their present place; else behind a mesh proxy that is a native sidecar; else before the init
    container that redirects the network for a proxy that starts later; else first.
    """
    containers = items(spec, "initContainers")
    ours = [index for index, item in enumerate(containers) if is_reserved(item["name"])]
    if ours:
        return ours[0]
    meshes = [index for index, item in enumerate(containers) if item["name"] in mesh]
    native = [index for index in meshes if containers[index].get("restartPolicy") == "Always"]
    if native:
        return native[-1] + 1
    return 0
