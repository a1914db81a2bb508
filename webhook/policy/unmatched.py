"""Patterns of a policy that nothing can match: probably typing errors.

The namespace `Sandbox-*` matches no namespace, an endpoint with `:443` no mount. Reported by
`check-policy` as a warning: the policy is valid. Pure functions.
"""

import re
from collections.abc import Iterable, Iterator

from webhook.parse.globs import NAMESPACE
from webhook.policy.rules import ARN, AWS, Policy, Rule

# The characters of each kind of name (naming rules of S3 and Kubernetes), without wildcards.
_BUCKET = (r"[a-z0-9.-]*", 63, "bucket names are a-z, 0-9, '-' and '.', at most 63 characters")
_ARN = (r"[a-z0-9:/-]*", 200, "ARNs of access points are lower case")
_NAMESPACE = (r"[a-z0-9-]*", 63, "namespaces are a-z, 0-9 and '-', at most 63 characters")
_SECRET = (r"[a-z0-9.-]*", 253, "names of Secrets are a-z, 0-9, '-' and '.'")
_DEFAULT_PORTS = {"https": "443", "http": "80"}
_Kind = tuple[str, int, str]


def unmatched(policy: Policy) -> Iterator[str]:
    """Yield a sentence for each pattern that can never match: rule, key, pattern, reason."""
    for rule in policy.rules:
        for key, pattern, reason in _dead(rule):
            yield f"rule {rule.name!r}, {key}: {pattern!r} never matches: {reason}"


def _dead(rule: Rule) -> Iterator[tuple[str, str, str]]:
    yield from _among("namespaces", rule.namespaces, _NAMESPACE)
    for grant in rule.grants:
        arns = [pattern for pattern in grant.buckets if pattern.startswith(ARN)]
        yield from _among("buckets", (p for p in grant.buckets if p not in arns), _BUCKET)
        yield from _among("buckets", arns, _ARN)
    yield from _among("secrets", rule.secrets, _SECRET)
    for pattern in rule.endpoints:
        if pattern not in ("*", AWS) and (reason := _dead_url(pattern)):
            yield "endpoints", pattern, reason


def _among(key: str, patterns: Iterable[str], kind: _Kind) -> Iterator[tuple[str, str, str]]:
    letters, most, reason = kind
    for pattern in patterns:
        literal = re.sub(r"[*?]", "", pattern.replace(NAMESPACE, ""))
        if len(literal) > most or not re.fullmatch(letters, literal, re.ASCII):
            yield key, pattern, reason


def _dead_url(pattern: str) -> str | None:
    """Return why a URL pattern never matches: endpoints are compared in normal form."""
    scheme, _, rest = pattern.partition("://")
    host = rest.partition("/")[0]
    if host.endswith(f":{_DEFAULT_PORTS[scheme]}"):
        return f"the default port is left out of {scheme} URLs"
    if host.replace(NAMESPACE, "") != host.replace(NAMESPACE, "").lower():
        return "hosts are lower case"
    if "@" in host:
        return "an endpoint has no credentials in it"
    return None
