"""docs/policy.md, "How it is read": rules, grants, maxima."""

import pytest

from tests.webhook import reviews
from webhook.errors import PolicyFileError
from webhook.parse.globs import matches_name, matches_prefix, matches_url
from webhook.platform.settings import Platform
from webhook.policy.file import parse_policy
from webhook.policy.rules import Policy, policy_problems
from webhook.review.decision import Decider, Denied, Injected
from webhook.review.lookup import FixedFacts
from webhook.spec.mountspec import MountSpec, Wanted, asking, read


def parsed(text: str) -> Policy:
    return parse_policy(text, "policy.yaml")


def wanted(**annotations: str) -> Wanted:
    given = {f"s3.mount/{key.replace('_', '-')}": value for key, value in annotations.items()}
    found, problems = read(asking(reviews.pod({"s3.mount/bucket": "data"} | given)), Platform())
    assert not problems
    return found


def refused(policy: Policy, namespace: str = "ml", **annotations: str) -> list[str]:
    """The annotations the policy objects to."""
    rule = policy.rule_for(namespace, {})
    assert rule is not None
    found = policy_problems(rule, wanted(**annotations), namespace)
    return [problem.where.removeprefix("s3.mount/") for problem in found]


def test_first_matching_rule_decides_alone() -> None:
    """A later, more generous rule adds nothing."""
    policy = parsed("""
        rules:
        - {name: one, namespaces: [ml*], buckets: [models]}
        - {name: two, namespaces: ["*"], buckets: ["*"]}
    """)
    assert refused(policy, "ml-1") == ["bucket"]
    assert refused(policy, "shop") == []


@pytest.mark.parametrize(("default", "expected"), [("allow", []), ("deny", ["bucket"])])
def test_default_is_for_namespaces_without_a_rule(default: str, expected: list[str]) -> None:
    """`default` decides where no rule matches."""
    policy = parsed(f"default: {default}\nrules: [{{name: x, namespaces: [x], buckets: []}}]")
    assert refused(policy, "shop", secret="s") == expected


def test_empty_file_of_rules_is_the_shipped_policy() -> None:
    """`rules: []` allows Secrets and the pod's own identity, not the node's."""
    rule = parsed("rules: []").rule_for("shop", None)
    assert rule is not None
    assert (rule.sources, rule.ambient) == (frozenset({"secret", "irsa"}), False)


def test_grants_cover_prefixes_and_access() -> None:
    """A mount has to be covered by one entry: bucket, prefix and access."""
    policy = parsed("""
        rules:
        - name: x
          namespaces: [ml]
          buckets:
          - own-{namespace}
          - {names: [data], prefixes: ["{namespace}/"], access: read-only}
    """)
    assert refused(policy, prefix="ml/in", read_only="true") == []
    assert refused(policy, prefix="ml/in") == ["read-only"]
    assert refused(policy, prefix="mlx/in", read_only="true") == ["bucket"]
    assert refused(policy, read_only="true") == ["bucket"]
    assert refused(policy, bucket="own-ml") == []


ARN = "arn:aws:s3:eu-central-1:123456789012:accesspoint/data"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["bucket"]),
        ("*data", ["bucket"]),
        ("???:*", ["bucket"]),
        ("arn:*", []),
        ("arn:aws:s3:*:123456789012:accesspoint/*", []),
        ("arn:aws:s3:*:210987654321:accesspoint/*", ["bucket"]),
    ],
)
def test_only_a_pattern_for_arns_matches_an_arn(pattern: str, expected: list[str]) -> None:
    """An access point may be of any account: a glob of bucket names says nothing about it."""
    policy = parsed(f"rules: [{{name: x, namespaces: [ml], buckets: ['{pattern}']}}]")
    assert refused(policy, bucket=ARN) == expected


def test_secrets_may_name_the_namespace() -> None:
    """`{namespace}` stands for it there as in buckets."""
    policy = parsed("""
        rules: [{name: x, namespaces: ["*"], buckets: ["*"], secrets: ["{namespace}-s3-*"]}]
    """)
    assert refused(policy, secret="ml-s3-data") == []
    assert refused(policy, secret="shop-s3-data") == ["secret"]


def test_credentials_secrets_and_endpoints() -> None:
    """Each source, Secret and endpoint has to be allowed."""
    policy = parsed("""
        rules:
        - {name: x, namespaces: [ml], buckets: ["*"], credentials: [secret], secrets: [s3-*],
           endpoints: ["https://*.example.com"]}
    """)
    assert refused(policy, secret="s3-a", endpoint="https://minio.example.com") == []
    assert refused(policy, secret="root", endpoint="https://minio.example.com") == ["secret"]
    assert refused(policy, endpoint="https://minio.example.com") == ["secret"]
    assert refused(policy, secret="s3-a") == ["endpoint"]
    assert refused(policy, secret="s3-a", endpoint="https://a.b/.example.com") == ["endpoint"]


def test_maxima_lower_defaults_and_deny_wishes() -> None:
    """The platform's defaults give way to a rule's maxima, a pod's annotations are denied."""
    policy = parsed("""
        rules:
        - {name: x, namespaces: [ml], buckets: ["*"],
           maxima: {memoryLimit: 128Mi, cacheSize: 512Mi}}
    """)
    decider = Decider(Platform(), lambda: policy)
    modest = decider.decide(reviews.pod(), "ml")
    assert isinstance(modest, Injected)
    assert modest.mounts[0].cache_size == 512 * 2**20
    greedy = reviews.BUCKET | {"s3.mount/memory-limit": "1Gi", "s3.mount/cache-size": "1Gi"}
    decision = decider.decide(reviews.pod(greedy), "ml")
    assert isinstance(decision, Denied)
    assert len(decision.problems) == 2
    assert decision.reason == "policy"


def test_rules_by_label() -> None:
    """All labels have to be there; unknown labels deny instead of guessing."""
    policy = parsed("rules: [{name: gold, namespaceLabels: {tier: gold}, buckets: []}]")
    assert policy.needs_labels
    for labels, kind in (({"tier": "gold"}, Denied), ({"tier": "tin"}, Injected), (None, Denied)):
        decider = Decider(Platform(), lambda: policy, FixedFacts(labels))
        assert isinstance(decider.decide(reviews.pod(), "ml"), kind)


def test_ambient_credentials_need_leave() -> None:
    """Without it the mount is kept from the node's credentials."""
    pod = reviews.pod({"s3.mount/bucket": "data"})
    allowed = parsed("rules: [{name: x, namespaces: [ml], buckets: ['*'], credentials: [ambient]}]")
    for policy, disabled in ((Policy(), True), (allowed, False)):
        decision = Decider(Platform(), lambda policy=policy: policy).decide(pod, "ml")
        assert isinstance(decision, Injected)
        assert ("AWS_EC2_METADATA_DISABLED" in str(decision.patch)) is disabled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: 7", "rules must be a list"),
        ("rule: []", "unknown key 'rule'"),
        ("- rules", "the document must be an object"),
        ("{", "is not YAML"),
        ("", "exactly one YAML document"),
        ("version: 2", "version must be 1"),
        ("default: maybe", "default must be one of: allow, deny"),
        ("rules: [{name: x, buckets: []}]", "rules[0] has neither namespaces nor namespaceLabels"),
        ("rules: [{name: x, namespaces: [a]}]", "rules[0] has no buckets"),
        ("rules: [{namespaces: [a], buckets: []}]", "rules[0] has no name"),
        ("rules: [{name: x, namespaces: a, buckets: []}]", "rules[0].namespaces must be a list"),
        ("rules: [{name: x, namespaces: [1], buckets: []}]", "rules[0].namespaces[0] must be text"),
        (
            "rules: [{name: x, namespaces: [a], buckets: ['{team}-x']}]",
            "rules[0].buckets[0] must be a name or glob",
        ),
        (
            "rules: [{name: x, namespaces: [a], buckets: [{names: [a], acess: read-only}]}]",
            "unknown key 'acess'",
        ),
        (
            "rules: [{name: x, namespaces: [a], buckets: [], credentials: [role]}]",
            "rules[0].credentials[0] must be one of",
        ),
        (
            "rules: [{name: x, namespaces: [a], buckets: [], endpoints: [ftp://x]}]",
            "rules[0].endpoints[0] must begin with https://",
        ),
        (
            "rules: [{name: x, namespaces: [a], buckets: [], maxima: {cacheSize: big}}]",
            "rules[0].maxima.cacheSize must be a number or a quantity",
        ),
        (
            "rules: [" + ", ".join(["{name: x, namespaces: [a], buckets: []}"] * 2) + "]",
            "uses a name twice: x",
        ),
    ],
)
def test_wrong_file_is_refused_with_its_place(text: str, message: str) -> None:
    """Every error names the file, the place in it and what is wrong."""
    with pytest.raises(PolicyFileError) as caught:
        parsed(text)
    assert "policy.yaml" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "prefix", "expected"),
    [
        ("", "", True),
        ("", "a/", True),
        ("a", "a/", True),
        ("a/", "a/b/", True),
        ("a", "ab/", False),
        ("a/", "", False),
        ("*/in", "x/in/", True),
        ("*/in", "x/y/in/", False),
        ("a.c", "abc/", False),
    ],
)
def test_prefixes(pattern: str, prefix: str, expected: bool) -> None:
    """A prefix covers itself and what is below; a star stops at a slash."""
    assert matches_prefix(pattern, prefix) is expected


def test_names_and_urls() -> None:
    """Names match as a whole; in URLs a star stops at a slash."""
    assert matches_name("team-*", "team-a")
    assert not matches_name("team-*", "my-team-a")
    assert not matches_name("a.b", "axb")
    assert matches_url("*", "https://x/y")
    assert not matches_url("https://*.b", "https://a/x.b")


def test_mount_specs_are_values() -> None:
    """Two readings of the same annotations are equal."""
    assert wanted() == wanted()
    assert isinstance(wanted().mounts[0], MountSpec)
