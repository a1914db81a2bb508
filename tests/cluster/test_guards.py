"""The guards on a real API server: each case that `tests/deploy` judges by itself.

The webhook would put most of them right first, so its configuration is away meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.cluster import Cluster, Manifest, until
from tests.cluster.conftest import Place
from tests.cluster.installation import CONFIGURATION, Installation
from tests.cluster.rights import documented, granted
from tests.deploy import guards
from tests.deploy.test_guards import PASSES, REFUSED

pytestmark = pytest.mark.alone
Record = Callable[[str, object], None]
GUARD = "'s3mount-created-pods'"


@pytest.fixture
def guards_alone(product: Installation, place: Place) -> Iterator[Place]:
    """A namespace in which nobody changes pods before the guards see them."""
    place.cluster.must("delete", "mutatingwebhookconfiguration", CONFIGURATION)
    try:
        yield place
    finally:
        product.apply()
        until("caBundle set", product.ca_bundle, 90)
        until("pods are admitted", lambda: place.refusal() == "", 60)


def case(change: str, place: Place) -> Manifest:
    """Return the injected pod of the guards' tests, changed, as one of this cluster."""
    text = json.dumps(guards.changed(change).object).replace(guards.IMAGE, place.image)
    body: Manifest = json.loads(text)
    body["metadata"] |= {"name": "case", "namespace": place.namespace}
    return body


def test_each_case_of_the_guards(guards_alone: Place, record_property: Record) -> None:
    """What passes is admitted by the guard; what is refused is refused with its words."""
    place, wrong, invalid = guards_alone, {}, 0
    cases = [(name, change, "") for name, change in PASSES.items()]
    cases += [(name, *each) for name, each in REFUSED.items()]
    for name, change, words in cases:
        said = place.cluster.refusal(case(change, place))
        if said and GUARD not in said:
            invalid += 1
        elif _found(words).replace(guards.IMAGE, place.image) not in said or (said and not words):
            wrong[name] = said or "admitted"
    count = f"{len(PASSES)} allowed, {len(REFUSED)} refused"
    record_property("measured", f"{count}; other rules of the API server refuse {invalid} of them")
    assert wrong == {}
    assert invalid < len(cases) / 3


def _found(words: str) -> str:
    # Before it the message lists what all replicas announce.
    return words.rpartition("; found ")[2]


def test_running_sidecars_keep_their_image(place: Place) -> None:
    """Nobody changes it in a running pod; the application's may be changed."""
    pod = place.start("running")
    here = ("-n", place.namespace, "set", "image", "pod/running")
    said = place.cluster.kubectl(*here, f"s3-mount-worker={place.image}-other")
    assert said.code != 0
    assert "can't be changed in a running pod" in said.err
    assert place.pod("running")["spec"]["initContainers"] == pod["spec"]["initContainers"]
    place.end("running")


def test_rights_are_those_of_the_docs(cluster: Cluster, product: Installation) -> None:
    """The listing of the API server names what docs/security.md has, and nothing else."""
    assert product.replicas()
    assert granted(cluster) == documented()
