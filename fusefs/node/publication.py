"""What the kubelet asks the plugin to publish, parsed and checked.

A volume is published only for a pod that the webhook wrote it into: its name, its attributes and
its token agree, and the path is that of a volume of this very pod. Not here: mounting.
Frozen values and pure functions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fusefs.keeper.cacheprotocol import scope_of
from fusefs.node.token import SignedVolume, TokenKeys

VOLUME = "s3-mount-bucket-"  # and the mount's name: the volume's name in the pod
# What the kubelet adds to the attributes of a volume for `podInfoOnMount` (CSIDriver).
INFO = "csi.storage.k8s.io/"
OURS = {"mount", "nonce", "token"}
NONCE = "[0-9a-f]{16}"
CACHE = "cache"  # where the mount uses the node's cache: what it shares with those that have it too


class PublishError(Exception):
    """A volume that can't be published; `code` is gRPC's name, the kubelet shows the text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """The place of a volume on the node: `PODS/pod/volumes/kubernetes.io~csi/volume/mount`."""

    path: str
    pod: str  # uid
    volume: str

    @property
    def name(self) -> str:
        """The mount's name."""
        return self.volume.removeprefix(VOLUME)


@dataclass(frozen=True, slots=True)
class Publication:
    """One volume of one pod.

    `nonce`: the pod's, as the webhook made it. `scope`: of the node's cache, "" where the mount
    doesn't use it.
    """

    target: Target
    namespace: str
    pod_name: str
    read_only: bool
    nonce: str
    scope: str = ""

    @property
    def source(self) -> str:
        """What the next plugin has to know of it, for the mount table."""
        return f"{self.nonce}.{self.scope}"


def recalled(source: str) -> tuple[str, str]:
    """Return nonce and scope of a `Publication.source`."""
    nonce, _, scope = source.partition(".")
    return nonce, scope


def target_of(path: str, pods: str) -> Target | None:
    """Return the target at a path below the kubelet's `pods` directory; None for any other path."""
    below = r"/([0-9A-Za-z-]{1,64})/volumes/kubernetes\.io~csi/([a-z0-9-]{1,63})/mount"
    found = re.fullmatch(re.escape(pods) + below, path, re.ASCII)
    if found is None or not found[2].startswith(VOLUME):
        return None
    return Target(path, found[1], found[2])


def publication(
    path: str, context: Mapping[str, str], *, read_only: bool, pods: str, keys: TokenKeys
) -> Publication:
    """Return what is to be published; PublishError if it isn't the webhook's."""
    target = target_of(path, pods)
    if target is None:
        raise PublishError("INVALID_ARGUMENT", f"{path!r} is no place of a volume {VOLUME}NAME")
    info = {key.removeprefix(INFO): each for key, each in context.items() if key.startswith(INFO)}
    missing = {"pod.uid", "pod.name", "pod.namespace", "serviceAccount.name"} - info.keys()
    if missing or info.get("ephemeral") != "true":
        text = "the kubelet gives no pod info: the CSIDriver s3.mount must be that of deploy/"
        raise PublishError("FAILED_PRECONDITION", text)
    if info["pod.uid"] != target.pod:
        raise PublishError("INVALID_ARGUMENT", f"{path!r} isn't in the pod {info['pod.uid']}")
    _check(target, context, info, read_only=read_only, keys=keys)
    return Publication(
        target,
        info["pod.namespace"],
        info["pod.name"],
        read_only,
        context["nonce"],
        _scope(context, info),
    )


def _scope(context: Mapping[str, str], info: Mapping[str, str]) -> str:
    """Return the scope of the node's cache, for which the kubelet and the webhook answer."""
    shared = context.get(CACHE)
    if not shared:
        return ""
    return scope_of(info["pod.namespace"], info["serviceAccount.name"], shared)


def _check(
    target: Target,
    context: Mapping[str, str],
    info: Mapping[str, str],
    *,
    read_only: bool,
    keys: TokenKeys,
) -> None:
    """Raise PublishError unless the attributes are the webhook's for this volume."""
    ours = {key: each for key, each in context.items() if not key.startswith(INFO)}
    namespace, name = info["pod.namespace"], info["pod.name"]
    volume = SignedVolume(
        namespace,
        info["serviceAccount.name"],
        name,
        ours.get("nonce", ""),
        target.name,
        read_only,
        ours.get(CACHE),
    )
    if (
        ours.keys() - {CACHE} != OURS
        or ours["mount"] != target.name
        or not re.fullmatch(NONCE, volume.nonce)
        or not keys.check(ours["token"], volume)
    ):
        raise PublishError(
            "PERMISSION_DENIED",
            f"volume {target.volume} of pod {namespace}/{name} wasn't written by the"
            " s3mount webhook, or was changed after it: mounts are asked for by annotation, see"
            " docs/node.md",
        )
