"""Whole pods before and after: every case of `pods/`, walked in every way that matters."""

import copy
from pathlib import Path

import pytest

from tests import schemas
from tests.webhook import goldens
from webhook.review.decision import Denied, Injected

VERSIONS = ("1.29", "1.33", "1.36")


@pytest.fixture(params=goldens.cases(), ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> goldens.Case:
    return goldens.read(request.param)


def test_result_is_as_recorded(case: goldens.Case) -> None:
    """What becomes of a pod changes only together with its golden file."""
    suffix, text = goldens.rendered(case)
    assert case.result(suffix).read_text() == text


def test_pod_given_stays_as_it_was(case: goldens.Case) -> None:
    """A decision changes nothing in the pod it is about."""
    before = copy.deepcopy(case.pod)
    case.decide()
    assert case.pod == before


def test_second_review_changes_nothing(case: goldens.Case) -> None:
    """Reviewing the pod that would run gives an empty patch."""
    decision = case.decide()
    if isinstance(decision, Injected):
        again = case.decide(goldens.injected(case, decision))
        assert isinstance(again, Injected)
        assert again.patch == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_pod_that_would_run_is_valid(case: goldens.Case, version: str) -> None:
    """The pod that would run passes the strict schema of Kubernetes."""
    decision = case.decide()
    if not isinstance(decision, Denied):
        pod = goldens.injected(case, decision) if isinstance(decision, Injected) else case.pod
        schemas.validate(copy.deepcopy(pod), version)


def test_what_the_sidecars_mount_are_volumes_of_the_pod(case: goldens.Case) -> None:
    """The API server refuses a pod whose containers name a volume that isn't there."""
    decision = case.decide()
    if isinstance(decision, Injected):
        spec = goldens.injected(case, decision)["spec"]
        ours = [c for c in spec["initContainers"] if c["name"].startswith("s3-mount-")]
        named = {mount["name"] for each in ours for mount in each["volumeMounts"]}
        assert named - {volume["name"] for volume in spec["volumes"]} == set()


def test_every_result_belongs_to_a_case() -> None:
    """No golden file is left behind by a case that is gone or was decided otherwise."""
    expected = {
        read.result(goldens.rendered(read)[0]) for read in map(goldens.read, goldens.cases())
    }
    found = {path for suffix in goldens.RESULTS for path in goldens.DIRECTORY.glob("*" + suffix)}
    assert found == expected


def test_there_are_enough_cases() -> None:
    """The walk can't pass by finding nothing to walk."""
    assert len(goldens.cases()) >= 40


def test_examples_are_cases_too() -> None:
    """Every example in deploy/ that holds a pod has its mounts injected."""
    directory = Path(__file__).parents[2] / "deploy" / "examples"
    assert {path.stem for path in directory.glob("*.yaml")} >= {"pod", "deployment", "job"}
