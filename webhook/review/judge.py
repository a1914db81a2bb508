"""What a pod asks for, read and judged by the rule of its namespace; the latest are remembered.

All of it follows from the annotations, the owner and the rule, and a workload's pods have the same:
of a rollout one pod is read, the others are looked up. So are the containers and volumes they get.
Values only, which nobody changes. Safe to share between threads.
"""

from dataclasses import dataclass

from webhook.parse.boundedcache import remembered
from webhook.platform.resources import Resources
from webhook.platform.settings import Platform
from webhook.pod.equipment import Equipment, Facts, equipment
from webhook.pod.memory import part_problems
from webhook.policy.rules import Rule, capped, ceiling, policy_problems
from webhook.problems import Problem
from webhook.spec import mountspec
from webhook.spec.mountspec import Asking, Wanted

# Annotations of a few mounts are some hundred characters; with these bounds a few MiB at most: a
# pod's equipment takes 16 KiB, with sixteen mounts 64.
_LONGEST, _MOST = 2048, 128


@dataclass(frozen=True)
class Judged:
    """The mounts that are wanted, under the platform's settings as the rule changes them.

    `most`: a worker's maxima. `problems` are of the annotations, `parts` of parts that need more
    memory than there is, `refused` what the rule doesn't allow.
    """

    platform: Platform
    most: Resources
    wanted: Wanted
    problems: tuple[Problem, ...]
    parts: tuple[Problem, ...]
    refused: tuple[Problem, ...]


class Judge:
    """Judges by the rules of one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.judged = remembered(self._judged, _length, _LONGEST, _MOST)
        self.equipped = remembered(self._equipped, _length, _LONGEST, _MOST)

    def _judged(self, asked: Asking, rule: Rule, namespace: str) -> Judged:
        platform = capped(self._platform, rule)
        wanted, problems = mountspec.read(asked, platform)
        return Judged(
            platform,
            ceiling(platform, rule),
            wanted,
            tuple(problems),
            tuple(part_problems(wanted)),
            tuple(policy_problems(rule, wanted, namespace)),
        )

    def _equipped(self, asked: Asking, rule: Rule, namespace: str, facts: Facts) -> Equipment:
        judged = self.judged(asked, rule, namespace)
        return equipment(judged.wanted, judged.platform, facts)


def _length(asked: Asking, _rule: Rule, namespace: str, _facts: Facts | None = None) -> int:
    return asked.length + len(namespace)
