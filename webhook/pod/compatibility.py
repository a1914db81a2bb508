"""Whether a pod can run a mount at all, whatever its annotations are.

A FUSE mount made in one container and seen in others needs a Linux kernel shared with the host and
a privileged keeper in the host's user namespace. Pure functions.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from webhook.platform.settings import Platform
from webhook.pods import Pod, items, section
from webhook.problems import Problem, example
from webhook.spec.mountspec import Wanted

_OS_LABEL = "kubernetes.io/os"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_FARGATE_PROFILE = "eks.amazonaws.com/fargate-profile"
_SERVERLESS = {"eks.amazonaws.com/compute-type": {"fargate"}, "type": {"virtual-kubelet"}}
_ENFORCE = "pod-security.kubernetes.io/enforce"


def fitness_problems(
    pod: Pod, wanted: Wanted, platform: Platform, *, ambient: bool
) -> list[Problem]:
    """Return what in the pod's spec prevents a mount, or makes it unsafe."""
    spec = pod["spec"]
    found = []
    if spec.get("hostUsers") is False:
        rule = "a pod with a user namespace of its own can't share a mount between containers"
        found.append(Problem("spec.hostUsers", "false", rule, "Leave hostUsers out"))
    found += _node_problems(pod)
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
    """Return a problem if the namespace's Pod Security level is known to refuse the keeper."""
    level = (labels or {}).get(_ENFORCE)
    if level not in ("baseline", "restricted"):
        return []
    rule = f"Pod Security level {level} refuses the privileged container that makes the mount"
    remedy = f"To allow it: kubectl label namespace {namespace} {_ENFORCE}=privileged --overwrite"
    return [Problem(f"namespace {namespace}: {_ENFORCE}", level, rule, remedy)]


def _node_problems(pod: Pod) -> list[Problem]:
    """Return problems of nodes that can't mount: no Linux, or no privileged containers."""
    spec = pod["spec"]
    found = []
    if section(spec, "os").get("name") == "windows" or _only(spec, _OS_LABEL, {"windows"}):
        rule = "mounts need Linux nodes"
        found.append(Problem("spec.os.name", "windows", rule, "Run this pod without mounts"))
    labels = section(section(pod, "metadata"), "labels")
    if (
        spec.get("schedulerName") == "fargate-scheduler"
        or _FARGATE_PROFILE in labels
        or any(_only(spec, key, values) for key, values in _SERVERLESS.items())
    ):
        rule = (
            "nodes without a kernel to share (Fargate, virtual nodes) run no privileged container"
        )
        remedy = "Run this pod on nodes of your own, or without mounts"
        found.append(Problem("spec: nodes", None, rule, remedy))
    return found


def _only(spec: Pod, label: str, values: set[str]) -> bool:
    """Return whether the pod's nodes must have the label with one of these values."""
    if section(spec, "nodeSelector").get(label) in values:
        return True
    affinity = section(section(spec, "affinity"), "nodeAffinity")
    terms = items(section(affinity, _REQUIRED), "nodeSelectorTerms")
    return bool(terms) and all(_demands(term, label, values) for term in terms)


def _demands(term: Pod, label: str, values: set[str]) -> bool:
    return any(
        expression.get("key") == label
        and expression.get("operator") == "In"
        and set(expression.get("values") or ["?"]) <= values
        for expression in items(term, "matchExpressions")
    )


def _host_network_problems(wanted: Wanted) -> list[Problem]:
    """Return a problem on the host's network: the SDK could use the node's credentials."""
    return [
        Problem(
            "spec.hostNetwork",
            "true",
            f"mount {mount.name} has no Secret, and on the host's network the pod's own identity "
            "can't be distinguished from the node's, which the policy doesn't allow",
            example(f'{mount.key("secret")}: "my-bucket-credentials"'),
        )
        for mount in wanted.mounts
        if mount.secret is None
    ]
