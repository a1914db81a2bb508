"""What a pod gets for its mounts: sidecars, volumes, the applications' mounts, the status.

Made from the mounts and a few facts about the pod, so that `review.judge` makes it once for all
pods of a workload. Not its place in the pod (`injection`), nor what a node's plugin signs for each
pod. Pure; the dictionaries are shared between pods, and nobody changes them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from webhook import __version__
from webhook.platform.settings import Platform
from webhook.pod.budget import with_storage
from webhook.pod.containers import application_mount, sidecars, volumes
from webhook.spec.mountspec import MountSpec, Wanted

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Facts(NamedTuple):
    """The facts about a pod that its equipment depends on.

    `ambient`: whether mounts without a Secret may use the node's credentials. `metrics_port`: the
    port of the worker's metrics, None for no metrics. `shares`: whether its mounts use the cache of
    the node. `limited`: whether the pod limits `ephemeral-storage`.
    """

    ambient: bool
    metrics_port: int | None
    shares: bool
    limited: bool


@dataclass(frozen=True)
class Equipment:
    """Parts of a pod; `volumes` without those of node mode, which are each pod's own."""

    sidecars: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    mounts: tuple[tuple[MountSpec, dict[str, Any]], ...] = ()
    status: str = ""
    # The JSON text of each part, by its id(): as long as this has the parts, nothing else has it.
    _texts: dict[int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = (*self.sidecars, *self.volumes, *(item for _, item in self.mounts))
        object.__setattr__(self, "_texts", {id(part): _encode(part) for part in parts})

    def text(self, value: Any) -> str:
        """Return the JSON text of a value, which may be one of the parts or a list of some."""
        if (found := self._texts.get(id(value))) is not None:
            return found
        if type(value) is list:
            return f"[{','.join(map(self.text, value))}]"
        return _encode(value)


Equip = Callable[[Facts], Equipment]


def equipment(wanted: Wanted, platform: Platform, facts: Facts) -> Equipment:
    """Return the equipment of a pod with these mounts."""
    found = sidecars(
        wanted,
        platform,
        ambient=facts.ambient,
        metrics_port=facts.metrics_port,
        shares=facts.shares,
    )
    return Equipment(
        tuple(with_storage(each, wanted, platform, limited=facts.limited) for each in found),
        () if platform.by_node else tuple(volumes(wanted, platform, {})),
        tuple((mount, application_mount(mount, platform)) for mount in wanted.mounts),
        status(wanted),
    )


def status(wanted: Wanted) -> str:
    """Return the status annotation: version and mounts, as JSON on one line."""
    mounts = {mount.name: f"{mount.source}:{mount.path}" for mount in wanted.mounts}
    return _encode({"version": __version__, "mounts": mounts})
