"""Whether a pod can run a mount at all, whatever its annotations say.

A FUSE mount made in one container and seen in others needs a Linux kernel shared with the host and
a privileged keeper in the host's user namespace. Pure functions.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from webhook.platform import Platform
from webhook.pods import Pod, section
from webhook.problems import Problem, example
from webhook.spec.mountspec import Wanted

_OS_LABEL = "kubernetes.io/os"
_ENFORCE = "pod-security.kubernetes.io/enforce"


def fitness_problems(
    pod: Pod, wanted: Wanted, platform: Platform, *, ambient: bool
) -> list[Problem]:
    """What in the pod's spec keeps any mount from working, or from being safe."""
    spec = pod["spec"]
    found = []
    if spec.get("hostUsers") is False:
        rule = "a pod with a user namespace of its own can't share a mount between containers"
        found.append(Problem("spec.hostUsers", "false", rule, "Leave hostUsers out"))
    if "windows" in (_os(spec), section(spec, "nodeSelector").get(_OS_LABEL)):
        rule = "mounts need Linux nodes"
        found.append(Problem("spec.os.name", "windows", rule, "Run this pod without mounts"))
    runtime = spec.get("runtimeClassName")
    if runtime and any(fnmatchcase(runtime, glob) for glob in platform.denied_runtime_classes):
        rule = "a sandbox with a kernel of its own can't share a mount with the kubelet"
        found.append(
            Problem("spec.runtimeClassName", runtime, rule, "Use a runc based class, or none")
        )
    if spec.get("hostNetwork") and not ambient:
        found += _host_network_problems(wanted)
    return found


def security_problems(namespace: str, labels: Mapping[str, str] | None) -> list[Problem]:
    """A Pod Security level that will refuse the mount's privileged container, where it is known."""
    level = (labels or {}).get(_ENFORCE)
    if level not in ("baseline", "restricted"):
        return []
    rule = f"Pod Security level {level} refuses the privileged container that makes the mount"
    remedy = f"To allow it: kubectl label namespace {namespace} {_ENFORCE}=privileged --overwrite"
    return [Problem(f"namespace {namespace}: {_ENFORCE}", level, rule, remedy)]


def _os(spec: Pod) -> str | None:
    name: str | None = section(spec, "os").get("name")
    return name


def _host_network_problems(wanted: Wanted) -> list[Problem]:
    """On the host's network nothing keeps the SDK from the node's own credentials."""
    return [
        Problem(
            "spec.hostNetwork",
            "true",
            f"mount {mount.name} has no Secret, and on the host's network the pod's own identity "
            "can't be told from the node's, which the policy doesn't allow",
            example(f'{mount.key("secret")}: "my-bucket-credentials"'),
        )
        for mount in wanted.mounts
        if mount.secret is None
    ]
