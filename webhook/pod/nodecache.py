"""Which mounts share the cache of a node, and what they have in common for that. Pure functions.

Blocks of objects are shared by mounts of one namespace and service account that read the same
bucket with the same credentials, wherever their requests go. The text made here stands for the
latter; the token covers it, and the node's plugin adds namespace and account. Who decides how names
resolve in a pod (`hostAliases`, `dnsConfig`) may lead an `http` endpoint elsewhere, so that is in
it, too. Not here: the cache itself (`fusefs.node`).
"""

import hashlib
import json

from webhook.platform.settings import Platform
from webhook.pods import Pod, section
from webhook.spec.mountspec import MountSpec

_RESOLVING = ("hostAliases", "dnsPolicy", "dnsConfig", "hostNetwork")


def shares(pod: Pod, platform: Platform) -> bool:
    """Return whether the mounts of a pod share the node's cache.

    Not where other containers could get into the worker's process, and give others wrong bytes.
    """
    spec = section(pod, "spec")
    open_to_others = spec.get("shareProcessNamespace") or spec.get("hostPID")
    return platform.by_node and platform.caches_by_node and not open_to_others


def in_common(mount: MountSpec, pod: Pod) -> str:
    """Return what is equal for mounts that may share blocks, in 32 hexadecimal digits."""
    spec = section(pod, "spec")
    resolving = {key: spec[key] for key in _RESOLVING if spec.get(key)}
    parts = [mount.bucket, mount.endpoint, mount.region, mount.secret, mount.options, resolving]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
