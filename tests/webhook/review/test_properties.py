"""Whatever a pod holds and whatever its annotations say: properties that always hold."""

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webhook import reviews
from webhook.errors import EnvelopeError
from webhook.platform.settings import Platform
from webhook.pod.injection import REPLACEABLE
from webhook.review import admission
from webhook.review.decision import Decider, Denied, Injected
from webhook.spec.annotations import ANNOTATIONS
from webhook.spec.mountspec import DOMAIN

DECIDER = Decider(Platform())
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
NAMES = st.sampled_from(["app", "logs", "setup", "istio-proxy", "istio-init"] * 3 + ["s3-mount"])
PATHS = st.sampled_from(["/data", "/data/", "/var/s3", "/var", "/work/x", "/sound/deep"])
MOUNTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["work"] * 6 + ["s3-mount-bus", "s3-mount-cache"]),
        "mountPath": PATHS,
    },
    optional={"subPath": st.just("default"), "readOnly": st.booleans()},
)
CONTAINERS = st.fixed_dictionaries(
    {"name": NAMES, "image": st.just("app:1")},
    optional={
        "volumeMounts": st.none() | st.lists(MOUNTS, max_size=3),
        "restartPolicy": st.just("Always"),
        "futureField": st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        "securityContext": st.fixed_dictionaries({}, optional={"runAsUser": st.integers(0, 9)}),
    },
)
SPECS = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINERS, min_size=1, max_size=4)},
    optional={
        "initContainers": st.none() | st.lists(CONTAINERS, max_size=4),
        "volumes": st.none() | st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=3),
        "terminationGracePeriodSeconds": st.none() | st.integers(0, 1000),
        "nodeSelector": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        "futureField": st.lists(st.none() | st.text(), max_size=3),
    },
)
SUFFIXES = st.sampled_from(["", "", "", ".models", ".uploads", ".default", ".X", "."])
GOOD = st.sampled_from([a.example for a in ANNOTATIONS])
VALUES = GOOD | st.text(max_size=20) | st.sampled_from(["true", "0", "/data", "none", "{}", "\0"])


@st.composite
def annotated(draw: st.DrawFn) -> dict[str, str]:
    """Annotations: a sound mount, to which things are done."""
    found = {"s3.mount/bucket": "my-bucket", "s3.mount/path": "/sound"}
    if draw(st.booleans()):
        return found
    for annotation in draw(st.lists(st.sampled_from(ANNOTATIONS), max_size=5)):
        value = annotation.example if draw(st.booleans()) else draw(VALUES)
        found[annotation.key + draw(SUFFIXES)] = value
    return found | draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))


PODS = st.builds(
    lambda annotations, spec: {"metadata": {"annotations": annotations}, "spec": spec},
    annotated(),
    SPECS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def contains(new: Any, old: Any) -> bool:
    """Whether everything of `old` is in `new`, in its order; null is the same as absent."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            contains(new.get(key), value) for key, value in old.items()
        )
    if isinstance(old, list):
        rest = iter(new)
        return all(any(contains(item, wanted) for item in rest) for wanted in old)
    return old is None or bool(old == new)


@EXAMPLES
@given(PODS)
def test_every_pod_is_decided(pod: dict[str, Any]) -> None:
    """No pod and no annotation makes the decision fail, and the pod stays as it was."""
    before = copy.deepcopy(pod)
    assert DECIDER.decide(pod, "shop") is not None
    assert pod == before


@EXAMPLES
@given(PODS)
def test_patch_applies_and_only_adds(pod: dict[str, Any]) -> None:
    """The patch applies, and everything the user wrote is still there, in its order."""
    decision = DECIDER.decide(pod, "shop")
    if isinstance(decision, Injected):
        result = admission.apply(pod, decision.patch)
        kept = copy.deepcopy(pod)
        kept["spec"].pop("terminationGracePeriodSeconds", None)
        kept["metadata"]["annotations"].pop("s3.mount/injected", None)
        assert contains(result, kept)
        for operation in decision.patch:
            assert operation["op"] == "add" or operation["path"] in REPLACEABLE


@EXAMPLES
@given(PODS)
def test_answer_has_the_patch_unchanged(pod: dict[str, Any]) -> None:
    """Though most of its values were encoded for an earlier pod."""
    request = admission.parse(reviews.body(pod))
    decision = admission.decide(request, DECIDER)
    if isinstance(decision, Injected) and decision.patch:
        assert reviews.patch(admission.answer(request, decision)) == list(decision.patch)


@EXAMPLES
@given(PODS)
def test_second_review_is_empty(pod: dict[str, Any]) -> None:
    """What was injected once needs nothing more."""
    decision = DECIDER.decide(pod, "shop")
    if isinstance(decision, Injected):
        again = DECIDER.decide(admission.apply(pod, decision.patch), "shop")
        assert isinstance(again, Injected)
        assert again.patch == ()


@EXAMPLES
@given(PODS, NAMES)
def test_later_container_gets_its_mount(pod: dict[str, Any], name: str) -> None:
    """A container added by a later webhook is mounted on the second call, nothing else changes."""
    decision = DECIDER.decide(pod, "shop")
    if isinstance(decision, Injected) and "s3.mount/containers" not in str(pod["metadata"]):
        result = admission.apply(pod, decision.patch)
        result["spec"]["containers"].append({"name": "later", "image": "later:1"})
        index = len(result["spec"]["containers"]) - 1
        again = DECIDER.decide(result, "shop")
        assert isinstance(again, Injected)
        assert [op["path"] for op in again.patch] == [f"/spec/containers/{index}/volumeMounts"]


@EXAMPLES
@given(PODS)
def test_denial_shows_every_value(pod: dict[str, Any]) -> None:
    """A denial has at least one problem, each with a place, a rule and a remedy."""
    decision = DECIDER.decide(pod, "shop")
    if isinstance(decision, Denied):
        assert decision.problems
        assert all(p.where and p.rule and p.remedy for p in decision.problems)


@EXAMPLES
@given(JSON)
def test_any_json_is_no_pod_or_decided(pod: Any) -> None:
    """A pod of any shape at all is decided about."""
    shaped = {"metadata": {"annotations": {"s3.mount/bucket": "my-bucket"}}, "spec": pod}
    assert DECIDER.decide(shaped, "shop") is not None
    assert DECIDER.decide({"metadata": pod, "spec": {}}, "shop") is not None


@EXAMPLES
@given(JSON, st.sampled_from(["uid", "kind", "object", "namespace", "operation", "subResource"]))
def test_envelope_is_read_or_refused(value: Any, field: str) -> None:
    """Any value in any field of the envelope is answered, or refused as unreadable."""
    try:
        request = admission.parse(json.dumps(reviews.review(**{field: value})).encode())
    except EnvelopeError as error:
        assert error.status == 400
        return
    answer = admission.answer(request, admission.decide(request, DECIDER))
    assert isinstance(reviews.response(answer)["allowed"], bool)


@EXAMPLES
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 50))
def test_damaged_bytes_are_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    """A body damaged anywhere is answered, or refused as unreadable."""
    body = reviews.body()
    damaged = body[:at] + noise + body[at + cut :]
    try:
        request = admission.parse(damaged)
    except EnvelopeError:
        return
    admission.answer(request, admission.decide(request, DECIDER))


@EXAMPLES
@given(st.sampled_from(ANNOTATIONS), st.text())
def test_parsers_return_or_raise_value_error(annotation: Any, text: str) -> None:
    """No text makes a parser fail in another way than by saying the text is wrong."""
    for value in (text, annotation.example[:3] + text, text + annotation.example):
        try:
            annotation.parse(value)
        except ValueError:
            continue
    assert annotation.key.startswith(DOMAIN)


def test_examples_of_the_registry_are_valid() -> None:
    """Every example that a denial shows is itself accepted."""
    for annotation in ANNOTATIONS:
        annotation.parse(annotation.example)
