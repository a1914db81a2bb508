"""The attributes of a pod's volumes of node mode, which the node's plugin checks.

A pod's volumes have a nonce of their own in their tokens, so that the plugin knows a copy. A pod
that is reviewed once more keeps it. Not here: the volumes (`containers`), keys (`nodekey`).
No state; a new nonce is random.
"""

from typing import Any

from webhook.platform.nodekey import NodeKey, SignedVolume, bound_to
from webhook.platform.settings import Platform
from webhook.pod.containers import DRIVER
from webhook.pod.nodecache import in_common, shares
from webhook.pods import Pod, items, section
from webhook.spec.mountspec import MountSpec, Wanted

# Of a pod that names none (the API server's ServiceAccount admission fills it in).
_ACCOUNT = "default"
Attributes = dict[str, str]


def attributes(
    pod: Pod, wanted: Wanted, namespace: str, key: NodeKey, platform: Platform
) -> dict[str, Attributes]:
    """Return the attributes of the volume of each mount, by the mount's name."""
    account = section(pod, "spec").get("serviceAccountName") or _ACCOUNT
    metadata = section(pod, "metadata")
    name = bound_to(metadata.get("name") or "", metadata.get("generateName") or "")
    shared = shares(pod, platform)

    def signed(mount: MountSpec, nonce: str) -> Attributes:
        cache = in_common(mount, pod) if shared else None
        volume = SignedVolume(namespace, account, name, nonce, mount.name, mount.read_only, cache)
        made = {"mount": mount.name, "nonce": nonce, "token": key.token(volume)}
        return made if cache is None else {**made, "cache": cache}

    there = _written(pod)
    kept = [
        nonce
        for mount in wanted.mounts
        for nonce in [there.get(mount.name, {}).get("nonce")]
        if isinstance(nonce, str) and there[mount.name] == signed(mount, nonce)
    ]
    nonce = kept[0] if kept else key.nonce()
    return {mount.name: signed(mount, nonce) for mount in wanted.mounts}


def _written(pod: Pod) -> dict[str, dict[str, Any]]:
    """Return the attributes of the volumes of our driver that a pod has, by the mount's name.

    A pod may have anything there.
    """
    sources = [volume.get("csi") for volume in items(section(pod, "spec"), "volumes")]
    ours = [each for each in sources if isinstance(each, dict) and each.get("driver") == DRIVER]
    found = [each.get("volumeAttributes") for each in ours]
    return {str(each.get("mount")): each for each in found if isinstance(each, dict)}
