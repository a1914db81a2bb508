"""docs/policy.md, "Checking a policy": patterns that can never match are told."""

import pytest

from webhook.policy.file import parse_policy
from webhook.policy.unmatched import unmatched

NEVER = {
    "namespaces: [Sandbox-*]": "namespaces",
    "namespaces: [team_a]": "namespaces",
    "namespaces: [team.a]": "namespaces",
    "buckets: [ML-*]": "buckets",
    "buckets: [my_bucket]": "buckets",
    "buckets: ['s3://data']": "buckets",
    "buckets: [{names: ['arn:aws:s3:*:1234:accesspoint/Data']}]": "buckets",
    "secrets: [S3-*]": "secrets",
    "secrets: ['{namespace}_s3']": "secrets",
    "endpoints: ['https://*.example.com:443']": "endpoints",
    "endpoints: ['http://*.example.com:80/x']": "endpoints",
    "endpoints: ['https://*.Example.com']": "endpoints",
    "endpoints: ['https://user@*.example.com']": "endpoints",
}
SOMETIMES = [
    "namespaces: ['*', 'ml-?', team-a]",
    "buckets: ['*', 'ml-*', 'own-{namespace}', 'arn:aws:s3:*:123456789012:accesspoint/*']",
    "buckets: [{names: [data], prefixes: ['Upper/{namespace}']}]",
    "secrets: ['{namespace}-s3.*']",
    "endpoints: [aws, '*', 'https://*.example.com:8443', 'https://s3.example.com:443']",
    "endpoints: ['https://{namespace}.example.com']",
]


def told(line: str) -> list[str]:
    fields = {"namespaces": "['*']", "buckets": "['*']"} | {line.partition(":")[0]: ""}
    rest = [f"{key}: {value}" for key, value in fields.items() if value]
    rule = ", ".join(["name: x", line, *rest])
    return list(unmatched(parse_policy(f"rules: [{{{rule}}}]", "policy.yaml")))


@pytest.mark.parametrize(("line", "key"), NEVER.items())
def test_what_never_matches_is_told(line: str, key: str) -> None:
    """Rule, key, pattern and the reason, in one sentence."""
    (sentence,) = told(line)
    assert sentence.startswith(f"rule 'x', {key}: ")
    assert "never matches: " in sentence


@pytest.mark.parametrize("line", SOMETIMES)
def test_what_may_match_is_not(line: str) -> None:
    """A URL without wildcards is brought into normal form when it is read."""
    assert told(line) == []
