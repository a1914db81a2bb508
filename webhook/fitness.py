"""Whether a pod can run a mount at all, whatever its annotations say.

A FUSE mount made in one container and seen in others needs a Linux kernel shared with the host and
a privileged keeper in the host's user namespace. Pure functions.
"""

from fnmatch import fnmatchcase

from webhook.annotations import Wanted
from webhook.pods import Pod, section
from webhook.problems import Problem
from webhook.settings import Platform

_OS_LABEL = "kubernetes.io/os"


def fitness_problems(
    pod: Pod, wanted: Wanted, platform: Platform, *, ambient: bool
) -> list[Problem]:
    """What in the pod's spec keeps any mount from working, or from being safe."""
    spec = pod["spec"]
    found = []
    if spec.get("hostUsers") is False:
        rule = "a pod with a user namespace of its own can't share a mount between containers"
        found.append(Problem("spec.hostUsers", "false", rule, "leave hostUsers out"))
    if "windows" in (_os(spec), section(spec, "nodeSelector").get(_OS_LABEL)):
        rule = "mounts need Linux nodes"
        found.append(Problem("spec.os.name", "windows", rule, f"nodeSelector {_OS_LABEL}: linux"))
    runtime = spec.get("runtimeClassName")
    if runtime and any(fnmatchcase(runtime, glob) for glob in platform.denied_runtime_classes):
        rule = "a sandbox with a kernel of its own can't share a mount with the kubelet"
        found.append(Problem("spec.runtimeClassName", runtime, rule, "a runc based class, or none"))
    if spec.get("hostNetwork") and not ambient:
        found += _host_network_problems(wanted)
    return found


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
            f'{mount.key("secret")}: "my-bucket-credentials"',
        )
        for mount in wanted.mounts
        if mount.secret is None
    ]
