"""The decision about a pod: inject, skip or deny, and the steps from a pod to the decision.

No HTTP and no AdmissionReview here: the server and the command line both use it. A `Decider` is
immutable but for its policy, which is read once per decision; safe to share between threads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from webhook import pods
from webhook.diff import Operation, additions
from webhook.platform.nodekey import NodeKey
from webhook.platform.settings import Platform
from webhook.pod.compatibility import fitness_problems, security_problems
from webhook.pod.equipment import Equipment
from webhook.pod.injection import inject
from webhook.pod.mesh import mesh_problems
from webhook.pod.nodevolumes import attributes
from webhook.pods import Pod
from webhook.policy.rules import Policy, unknown_labels
from webhook.problems import Problem
from webhook.review.judge import Judge
from webhook.review.lookup import FixedFacts, Lookup
from webhook.review.warnings import Advice, advice, misplaced, undone
from webhook.spec import mountspec
from webhook.spec.mountspec import Asking, MountSpec, Wanted

MIRROR = "kubernetes.io/config.mirror"


class Skip(Enum):
    """Why a pod is allowed unchanged: a reason for machines, and a sentence for people."""

    NOT_ASKED = ("not-asked", "The pod has no annotation that begins with s3.mount/.")
    MIRROR_POD = ("mirror-pod", "A static pod of a node can't be changed through the API.")
    NOT_CREATED = ("not-created", "Mounts are given to pods when they are created, not later.")
    NOT_A_POD = ("not-a-pod", "Only pods get mounts.")

    @property
    def reason(self) -> str:
        return self.value[0]

    @property
    def sentence(self) -> str:
        return self.value[1]


@dataclass(frozen=True)
class Skipped:
    """The pod is allowed unchanged."""

    skip: Skip
    warnings: tuple[Advice, ...] = ()


@dataclass(frozen=True)
class Denied:
    """The pod is refused; there is at least one problem. `reason`: `invalid`, `policy` or `bug`."""

    problems: tuple[Problem, ...]
    reason: str = "invalid"


@dataclass(frozen=True)
class Injected:
    """The pod is allowed with this patch; it is empty if the pod has its mounts already.

    `equipment` has values of the patch as text.
    """

    patch: tuple[Operation, ...]
    mounts: tuple[MountSpec, ...]
    warnings: tuple[Advice, ...] = ()
    rule: str = ""
    equipment: Equipment = field(default=Equipment(), repr=False, compare=False)


Decision = Skipped | Denied | Injected


@dataclass(frozen=True)
class Decider:
    """Decides about pods; `policy()` returns the policy in use.

    `node_key` signs the volumes of node mode; None: this replica has no key, so there are none.
    """

    platform: Platform
    policy: Callable[[], Policy] = Policy
    lookup: Lookup = FixedFacts()  # noqa: RUF009 - knows nothing, and is frozen
    node_key: NodeKey | None = NodeKey()  # noqa: RUF009 - as above

    _judge: Judge = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_judge", Judge(self.platform))

    def decide(self, pod: Pod, namespace: str) -> Decision:
        """Return the decision about a pod of a namespace; no content of a pod makes it raise."""
        if problems := pods.shape_problems(pod):
            return Denied(tuple(problems))
        asked = mountspec.asking(pod)
        if not asked.annotations:
            return Skipped(Skip.NOT_ASKED, tuple(misplaced(pod)))
        if MIRROR in pods.annotations(pod):
            return Skipped(Skip.MIRROR_POD)
        return self._decide_asking(pod, asked, namespace)

    def _decide_asking(self, pod: Pod, asked: Asking, namespace: str) -> Decision:
        if excess := pods.size_problems(pod):
            return Denied(tuple(excess))
        labels = self.lookup.labels(namespace)
        rule = self.policy().rule_for(namespace, labels)
        if rule is None:
            return Denied((unknown_labels(namespace),), "policy")
        judged = self._judge.judged(asked, rule, namespace)
        platform, wanted = judged.platform, judged.wanted
        problems = [*judged.problems]
        problems += fitness_problems(pod, wanted, platform, ambient=rule.ambient)
        problems += judged.parts
        problems += mesh_problems(pod, wanted)
        problems += self._key_problems(platform)
        if platform.check_pod_security and not platform.by_node:
            problems += security_problems(namespace, labels)
        published = self._published(pod, wanted, namespace, platform)
        injection = inject(
            pod,
            wanted,
            platform,
            judged.most,
            ambient=rule.ambient,
            published=published,
            equip=partial(self._judge.equipped, asked, rule, namespace),
        )
        problems += injection.problems
        if problems or judged.refused:
            return Denied((*problems, *judged.refused), "invalid" if problems else "policy")
        patch = additions(pod, injection.pod, injection.replaced)
        warnings = [
            *undone(injection.undone),
            *advice(pod, injection.places, wanted, platform, namespace, self.lookup),
        ]
        equipped = injection.equipment
        return Injected(tuple(patch), wanted.mounts, tuple(warnings), rule.name, equipped)

    def _published(
        self, pod: Pod, wanted: Wanted, namespace: str, platform: Platform
    ) -> dict[str, dict[str, str]]:
        """Return the attributes of the volume of each mount for the node's plugin, by its name."""
        if not platform.by_node:
            return {}
        return attributes(pod, wanted, namespace, self.node_key or NodeKey(), platform)

    def _key_problems(self, platform: Platform) -> list[Problem]:
        if not platform.by_node or self.node_key is not None:
            return []
        rule = "node mode needs S3MOUNT_NODE_KEY_FILE, which the webhook doesn't have"
        return [Problem("s3mount", None, rule, "Tell the platform team; see docs/node.md")]
