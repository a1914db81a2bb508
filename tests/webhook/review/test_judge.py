"""What is remembered of what pods ask for: never more, and never another pod's."""

import copy
from typing import Any

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.pod.equipment import Equipment, Facts
from webhook.policy.rules import SHIPPED, Grant, Policy, Rule
from webhook.review import admission
from webhook.review.decision import Decider, Denied, Injected
from webhook.review.judge import Judge, Judged
from webhook.spec.mountspec import asking

KEYS = {"s3.mount/bucket": "data"}


def judged(judge: Judge, given: dict[str, str], rule: Rule = SHIPPED, **spec: Any) -> Judged:
    found: Judged = judge.judged(asking(reviews.pod(given, **spec)), rule, "shop")
    return found


def equipped(judge: Judge, given: dict[str, str], **facts: Any) -> Equipment:
    plain = {"ambient": False, "metrics_port": None, "shares": False, "limited": False}
    asked = asking(reviews.pod(given))
    found: Equipment = judge.equipped(asked, SHIPPED, "shop", Facts(**(plain | facts)))
    return found


def test_pods_of_one_workload_are_judged_once() -> None:
    """The same object is returned, which nobody can change."""
    judge = Judge(Platform())
    assert judged(judge, KEYS) is judged(judge, dict(KEYS))


def test_whatever_matters_is_part_of_what_is_remembered() -> None:
    """Annotations, the user who owns files, the rule, the namespace."""
    judge = Judge(Platform())
    first = judged(judge, KEYS)
    assert judged(judge, KEYS | {"s3.mount/path": "/data"}).wanted.mounts[0].path == "/data"
    assert judged(judge, KEYS, securityContext={"runAsUser": 7}).wanted.mounts[0].uid == 7
    assert judged(judge, KEYS, securityContext={"fsGroup": 8}).wanted.mounts[0].gid == 8
    assert judged(judge, KEYS, Rule("none")).refused
    assert not first.refused
    own = Rule("own", grants=(Grant(("{namespace}",)),))
    asked = asking(reviews.pod({"s3.mount/bucket": "shop"}))
    assert not judge.judged(asked, own, "shop").refused
    assert judge.judged(asked, own, "team").refused


def test_pods_of_one_workload_are_equipped_alike() -> None:
    """Their containers and volumes are made once, unless the pods differ in what matters."""
    judge = Judge(Platform())
    first = equipped(judge, KEYS)
    assert equipped(judge, dict(KEYS)) is first
    for fact in ({"metrics_port": 20303}, {"limited": True}):
        assert equipped(judge, KEYS, **fact).sidecars != first.sidecars
    assert equipped(judge, KEYS | {"s3.mount/path": "/data"}).mounts != first.mounts


def test_what_pods_share_stays_as_it_was() -> None:
    """Neither a pod that has it already, changed or not, nor what is done with a patch matters."""
    decider, pod = Decider(Platform()), reviews.pod()
    first = decider.decide(pod, "shop")
    assert isinstance(first, Injected)
    before = copy.deepcopy(first.patch)
    for name, value in (("image", "s3mount:other"), ("stdin", True), ("env", [])):
        mounted = admission.apply(pod, first.patch)
        mounted["spec"]["initContainers"][0][name] = value
        mounted["spec"]["volumes"][0]["emptyDir"] = {}
        decider.decide(mounted, "shop")
    again = decider.decide(pod, "shop")
    assert isinstance(again, Injected)
    assert again.patch == before


def test_long_annotations_are_not_remembered() -> None:
    """A replica's memory has a bound, whatever people write."""
    judge = Judge(Platform())
    long = KEYS | {"s3.mount/prefix": "x" * 4000}
    assert judged(judge, long) is not judged(judge, long)
    assert judged(judge, long) == judged(judge, long)
    assert equipped(judge, long) is not equipped(judge, long)


def test_another_policy_counts_at_once() -> None:
    """For a pod that was allowed a moment ago, too."""
    policies = [Policy(), Policy(default=Rule("none"))]
    decider = Decider(Platform(), lambda: policies[0])
    assert isinstance(decider.decide(reviews.pod(), "shop"), Injected)
    del policies[0]
    assert isinstance(decider.decide(reviews.pod(), "shop"), Denied)
