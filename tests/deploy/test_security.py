"""docs/security.md: what a pod's creator, a neighbour and a stranger can and can't do.

Every sentence in the three lists names the test that shows it; those that had none are below.
"""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.cel import Request, denials, matches
from tests.deploy.guards import ANYBODY, POD, changed, created, guard, guards
from tests.deploy.rendered import one
from tests.deploy.test_debug import added
from tests.deploy.test_reserved import HOST, PLACES, pod
from tests.webhook import neighbours, reviews
from webhook.platform.settings import Platform
from webhook.policy.file import parse_policy
from webhook.problems import message
from webhook.review.decision import Decider, Denied

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "security.md").read_text()
HERE = "tests/deploy/test_security.py"
EXISTING = "tests/webhook/pod/test_existing.py"
RULES = "tests/webhook/policy/test_rules.py"
DEBUG = "tests/deploy/test_debug.py"
HOSTILE = "tests/webhook/serve/test_hostile.py"
# The beginning of each sentence, and the tests that show it.
SHOWN = {
    "He can mount any bucket": (RULES, "grants_cover_prefixes_and_access"),
    "He can use Secrets of the": (HERE, "no_secret_of_another_namespace_can_be_named"),
    "He can use the pod's own": (RULES, "ambient_credentials_need_leave"),
    "He can't choose the sidecars'": (HERE, "nothing_that_is_brought_along_runs"),
    "He can't give the": (EXISTING, "a_containers_own_resources_end_at_the_rules_maxima"),
    "He can't send what": (HERE, "the_worker_signs_for_listed_endpoints_only"),
    "He can't mount the sidecars'": (HERE, "no_other_container_mounts_a_volume_of_ours"),
    "He can't put the sidecars": ("tests/deploy/test_reserved.py", "nobody_bears_the_names_of"),
    "He can't exec": (DEBUG, "nobody_gets_a_shell_in_the_keeper_but_the_listed_groups"),
    "He can't change": ("tests/deploy/test_guards.py", "the_image_of_a_running_sidecar_stays"),
    "He finds no token of the pod's": (
        "tests/webhook/pod/test_containers.py",
        "neither_sidecar_has_the_token_of_the_pods_service_account",
    ),
    "He can create privileged pods": (HERE, "a_policy_engine_gives_nobody_root"),
    "What it adds of a closed": (EXISTING, "what_clouds_and_cluster_add_is_kept"),
    "What else it changes": (EXISTING, "what_others_change_by_a_general_rule_is_put_back"),
    "After our last call": ("tests/deploy/test_guards.py", "what_others_do_after_us_is_judged"),
    "It can't take the annotations": (HERE, "sidecars_need_their_annotation"),
    "It can change the values": (HERE, "values_of_variables_are_the_webhooks_to_judge"),
    "It can take the annotations off a pod before": (HERE, "without_annotations_nobody_asks_us"),
    "He can ask for reviews": ("tests/webhook/serve/test_cluster.py", "reviews_ask_the_api_server"),
    "He learns from them": (HERE, "a_denial_tells_the_policy_and_no_more"),
    "He can't end a replica": (HOSTILE, "hostile_bodies_cost_no_memory"),
    "He can't keep others out": (HOSTILE, "connections_that_say_nothing_are_few"),
    "He can't fill the log": (HOSTILE, "requests_that_are_none_leave_few_lines"),
    "He finds no token of the API": ("tests/deploy/test_overlays.py", "only_the_agent_has_a_token"),
}


def sentences() -> list[str]:
    """The sentences of the three lists."""
    part = DOCS.partition("\n### Who may create pods")[2].partition("\n### Others")[0]
    return re.findall(r"^- (.+)$", part, re.MULTILINE)


def test_every_sentence_has_a_test() -> None:
    """And every test that is named here exists."""
    found = [[begin for begin in SHOWN if text.startswith(begin)] for text in sentences()]
    assert [len(begins) for begins in found] == [1] * len(SHOWN)
    assert {begin for begins in found for begin in begins} == SHOWN.keys()
    for path, name in SHOWN.values():
        assert f"def test_{name}" in (ROOT / path).read_text(), name


@pytest.mark.parametrize("name", ["other/secret", "other.", "../other", "other:secret"])
def test_no_secret_of_another_namespace_can_be_named(name: str) -> None:
    """A name has no place for a namespace."""
    given = reviews.pod(reviews.BUCKET | {"s3.mount/secret": name})
    assert isinstance(neighbours.DECIDER.decide(given, "shop"), Denied)


@pytest.mark.parametrize(
    "change", neighbours.of(neighbours.UNDONE) + neighbours.of(neighbours.REFUSED)
)
def test_nothing_that_is_brought_along_runs(change: str) -> None:
    """The pod is refused, or runs as if it had brought nothing."""
    decision = neighbours.DECIDER.decide(neighbours.changed(change), "shop")
    if not isinstance(decision, Denied):
        spec = neighbours.run(neighbours.changed(change))["spec"]
        assert spec["initContainers"] == neighbours.injected()["spec"]["initContainers"]


@pytest.mark.parametrize(
    "annotations",
    [
        {"s3.mount/endpoint": "https://elsewhere.example"},
        {"s3.mount/options": "url=https://elsewhere.example"},
        {"s3.mount/options": "endpoint=elsewhere,url=https://elsewhere.example"},
    ],
    ids=str,
)
def test_the_worker_signs_for_listed_endpoints_only(annotations: dict[str, str]) -> None:
    """Neither an annotation nor an option leads elsewhere; for variables see the next one."""
    policy = parse_policy(
        "rules: [{name: x, namespaces: ['*'], buckets: ['*'], endpoints: [aws]}]", "-"
    )
    decider = Decider(Platform(), lambda: policy)
    decision = decider.decide(reviews.pod(reviews.BUCKET | annotations), "shop")
    assert isinstance(decision, Denied)


@pytest.mark.parametrize(
    "name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CONFIG_FILE", "AWS_PROFILE"]
)
def test_no_variable_leads_elsewhere(name: str) -> None:
    """Refused by the webhook and by the guard."""
    given = neighbours.changed(neighbours.variable(name, "http://elsewhere"))
    assert isinstance(neighbours.DECIDER.decide(given, "shop"), Denied)
    assert guards(created(given)) != []


@pytest.mark.parametrize("name", ["socket", "credentials", "cache", "no-token", "bus"])
def test_no_other_container_mounts_a_volume_of_ours(name: str) -> None:
    """Refused by the webhook and by the guard; the bus's root, too."""
    given = copy.deepcopy(POD)
    mount = {"name": f"s3-mount-{name}", "mountPath": "/x"}
    given["spec"]["containers"][0]["volumeMounts"].append(mount)
    assert isinstance(neighbours.DECIDER.decide(given, "shop"), Denied)
    assert guards(created(given)) != []


def advised() -> dict[str, Any]:
    """The policy that the docs advise."""
    (block,) = re.findall(r"```yaml\n(apiVersion: admission.*?)```", DOCS, re.DOTALL)
    policy, binding = yaml.safe_load_all(block)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    return dict(policy)


@pytest.mark.parametrize(
    "fields",
    [
        *PLACES.values(),
        {"containers": [{"name": "x", "securityContext": {"privileged": True}}], "volumes": []},
        {"initContainers": [{"name": "x", "securityContext": {"capabilities": {"add": ["ALL"]}}}]},
        {"volumes": [HOST]},
        *(
            {field: True}
            for field in ("hostPID", "hostNetwork", "hostIPC", "shareProcessNamespace")
        ),
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_policy_engine_gives_nobody_root(fields: dict[str, Any]) -> None:
    """It admits what is privileged in the keeper alone, and that is ours by the guards."""
    request = created(pod(**fields))
    assert denials(advised(), request) + guards(request) != []
    keeper = created(
        pod(volumes=[], initContainers=[PLACES["native sidecar"]["initContainers"][0]])
    )
    assert guards(keeper) != []


def test_the_advised_policy_lets_mounts_and_plain_debugging_pass() -> None:
    """A pod with a bucket, and an ephemeral container without rights."""
    assert denials(advised(), created(POD)) == []
    assert denials(advised(), added(*ANYBODY)) == []
    privileged = added(*ANYBODY, securityContext={"privileged": True})
    assert denials(advised(), privileged) != []


@pytest.mark.parametrize("left", [{}, {"s3.mount/injected": "{}"}], ids=str)
def test_sidecars_need_their_annotation(left: dict[str, str]) -> None:
    """A pod that lost it is refused: nobody would know what its config says."""
    request = changed(f"meta['annotations'] = {left}")
    assert guard("s3mount-reserved-names", request) != []


def test_values_of_variables_are_the_webhooks_to_judge() -> None:
    """The guard knows names only; the webhook writes the value again when it is asked again."""
    change = "worker['env'][0]['value'] = '{}'"
    assert guards(created(neighbours.changed(change))) == []
    assert neighbours.run(neighbours.changed(change)) == neighbours.injected()


def test_without_annotations_nobody_asks_us() -> None:
    """The API server's condition, not ours to see."""
    (webhook,) = one("MutatingWebhookConfiguration", "mount-s3-injector")["webhooks"]
    assert not matches(webhook["matchConditions"], Request("CREATE", pod()))


def test_a_denial_tells_the_policy_and_no_more() -> None:
    """Whose pods are reviewed is the asker's to say: the patterns of any namespace's rule."""
    policy = parse_policy("rules: [{name: ml, namespaces: [ml], buckets: ['ml-*']}]", "-")
    decision = Decider(Platform(), lambda: policy).decide(reviews.pod(), "ml")
    assert isinstance(decision, Denied)
    assert "allowed: ml-*" in message("x", decision.problems)
