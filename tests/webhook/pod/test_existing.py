"""docs/compatibility.md, "Other admission webhooks": what becomes of changes to our sidecars."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from tests.webhook import neighbours
from tests.webhook.neighbours import CASES, DECIDER, KEPT, REFUSED, ROWS, UNDONE
from webhook.platform.resources import Resources
from webhook.platform.settings import Platform
from webhook.policy.rules import SHIPPED, Policy, Rule
from webhook.review import admission
from webhook.review.decision import Decider, Denied, Injected

DOCS = Path(__file__).parents[3] / "docs" / "compatibility.md"


def review(pod: dict[str, Any]) -> Injected:
    decision = DECIDER.decide(pod, "shop")
    assert isinstance(decision, Injected), decision
    return decision


@pytest.mark.parametrize("change", neighbours.of(KEPT))
def test_what_clouds_and_cluster_add_is_kept(change: str) -> None:
    """The second review changes nothing."""
    pod = neighbours.changed(change)
    assert pod != neighbours.injected()
    assert review(pod).patch == ()


@pytest.mark.parametrize("change", neighbours.of(UNDONE))
def test_what_others_change_by_a_general_rule_is_put_back(change: str) -> None:
    """The pod runs as we write it, whoever asked for something else; a third review is empty."""
    pod = neighbours.changed(change)
    result = neighbours.run(pod)
    before = neighbours.injected()["spec"]
    assert result["spec"]["initContainers"] == before["initContainers"]
    volumes = {v["name"]: v for v in result["spec"]["volumes"]}
    assert all(volumes[v["name"]] == v for v in before["volumes"])
    assert review(result).patch == ()


@pytest.mark.parametrize("change", neighbours.of(UNDONE))
def test_what_is_put_back_is_told(change: str) -> None:
    """A warning names the container or volume, and the field when something was changed."""
    if change.startswith("del "):
        return  # What is missing is put in without a word, as in any pod.
    told = [w for w in review(neighbours.changed(change)).warnings if w.reason == "undone"]
    assert told
    assert "changed by others and put back: s3-mount-" in str(told[0])


@pytest.mark.parametrize("change", neighbours.of(REFUSED))
def test_what_would_run_something_else_is_refused(change: str) -> None:
    """The message names what is wrong, and that another webhook may have done it."""
    decision = DECIDER.decide(neighbours.changed(change), "shop")
    assert isinstance(decision, Denied)
    assert "s3-mount-" in str(decision.problems[0])
    assert "another admission webhook" in str(decision.problems[0])


def test_the_fields_that_forbid_a_container_are_named() -> None:
    """So that the on-call engineer finds who writes them."""
    pod = neighbours.changed("keeper.update(image='evil:1', command=['sh'])")
    decision = DECIDER.decide(pod, "shop")
    assert isinstance(decision, Denied)
    assert "container s3-mount-keeper" in str(decision.problems[0])
    assert "differs in command, image" in str(decision.problems[0])


def test_the_table_in_the_docs_has_the_same_rows() -> None:
    """Names and verdicts; every row of the table is tested here."""
    rows = re.findall(r"^\| ([^|]+?) \| [^|]+ \| \*\*([a-z ]+)\*\*", DOCS.read_text(), re.MULTILINE)
    assert dict(rows) == {name: verdict for name, (verdict, _) in ROWS.items()}
    assert len(CASES) > 60


def test_a_containers_own_resources_end_at_the_rules_maxima() -> None:
    """What the policy caps for annotations can't be had by bringing the sidecars along."""
    rule = Rule("x", grants=SHIPPED.grants, maximum=Resources(memory_limit=2 * 2**30))
    decider = Decider(Platform(), lambda: Policy((rule,)))
    for limit, kept in (("2Gi", True), ("4Gi", False)):
        pod = neighbours.changed(f"worker['resources']['limits']['memory'] = '{limit}'")
        decision = decider.decide(pod, "shop")
        assert isinstance(decision, Injected)
        assert (decision.patch == ()) is kept


def test_second_container_of_our_name_is_denied() -> None:
    """One of ours is enough."""
    pod = neighbours.injected()
    pod["spec"]["initContainers"].append(copy.deepcopy(pod["spec"]["initContainers"][0]))
    assert isinstance(DECIDER.decide(pod, "shop"), Denied)


@pytest.mark.parametrize("first", ["s3mount:0.0.9", "s3mount:0.2.0"])
def test_replicas_of_two_versions_review_one_pod(first: str) -> None:
    """In a rolling upgrade the second review may land on the other version: its own is written."""
    old = Decider(Platform(image=first).replaced(worker=Resources(memory_limit=2**29)))
    pod = neighbours.injected()
    decision = old.decide(pod, "shop")
    assert isinstance(decision, Injected)
    result = admission.apply(pod, decision.patch)
    assert {c["image"] for c in result["spec"]["initContainers"]} == {first}
    back = neighbours.run(copy.deepcopy(result))
    assert back["spec"] == neighbours.injected()["spec"]
