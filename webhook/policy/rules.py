"""The policy: rules by namespace, of which the first that matches decides.

A rule grants buckets with prefixes, to write or only to read; sources of credentials; Secrets;
endpoints; maxima. `policy.file` reads them. Immutable, pure, safe to share
between threads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from webhook.parse.globs import filled, matches_name, matches_prefix, matches_url
from webhook.parse.quantities import format_bytes, format_millicores
from webhook.platform.resources import Resources
from webhook.platform.settings import Platform
from webhook.problems import Problem
from webhook.spec.annotations import BUCKET
from webhook.spec.mountspec import MountSpec, Wanted

SECRET, IRSA, AMBIENT = "secret", "irsa", "ambient"
SOURCES = (SECRET, IRSA, AMBIENT)
# The endpoint of a mount that names none.
AWS = "aws"
ARN = "arn:"
_ASK = "Ask the platform team; docs/policy.md explains the rules"


@dataclass(frozen=True)
class Grant:
    """Buckets that may be mounted, at or below prefixes; `read_only`: by read-only mounts."""

    buckets: tuple[str, ...]
    prefixes: tuple[str, ...] = ("",)
    read_only: bool = False

    def covers(self, mount: MountSpec, namespace: str) -> bool:
        """Return whether bucket and prefix of the mount are in this grant; access isn't checked."""
        return any(_names_bucket(b, mount.bucket, namespace) for b in self.buckets) and any(
            matches_prefix(filled(p, namespace), mount.prefix) for p in self.prefixes
        )


def _names_bucket(pattern: str, bucket: str, namespace: str) -> bool:
    """Return whether a glob matches a bucket; an ARN is matched by patterns of ARNs only."""
    if bucket.startswith(ARN) and not pattern.startswith(ARN):
        return False
    return matches_name(filled(pattern, namespace), bucket)


@dataclass(frozen=True)
class Rule:
    """The permissions of the namespaces it matches; a maximum of None is no limit of the rule.

    `keeper` says who makes the mounts where that isn't the platform's setting, `cache` likewise
    whose the cache is.

    All `labels` are required; `secrets` and `endpoints` are globs, `aws` is a mount without one.
    """

    name: str
    namespaces: tuple[str, ...] = ("*",)
    labels: tuple[tuple[str, str], ...] = ()
    grants: tuple[Grant, ...] = ()
    sources: frozenset[str] = frozenset({SECRET, IRSA})
    secrets: tuple[str, ...] = ("*",)
    endpoints: tuple[str, ...] = ("*",)
    maximum_mounts: int | None = None
    maximum_cache_size: int | None = None
    maximum: Resources = Resources()  # noqa: RUF009 - frozen: one for all is right
    keeper: str | None = None
    cache: str | None = None

    def names(self, namespace: str) -> bool:
        """Return whether the rule's globs match the namespace's name."""
        return any(matches_name(pattern, namespace) for pattern in self.namespaces)

    @property
    def ambient(self) -> bool:
        """Whether mounts without a Secret may use the node's credentials."""
        return AMBIENT in self.sources


# Any bucket, with the namespace's own Secrets or the pod's own identity.
SHIPPED = Rule("default", grants=(Grant(("*", "arn:*")),))
NOTHING = Rule("default")


@dataclass(frozen=True)
class Policy:
    """The rules in order; `default` is for namespaces that none of them matches."""

    rules: tuple[Rule, ...] = ()
    default: Rule = SHIPPED

    @property
    def needs_labels(self) -> bool:
        """Whether a rule looks at the labels of namespaces."""
        return any(rule.labels for rule in self.rules)

    def rule_for(self, namespace: str, labels: Mapping[str, str] | None) -> Rule | None:
        """Return the rule for a namespace; None if it depends on unknown labels."""
        for rule in self.rules:
            if not rule.names(namespace):
                continue
            if rule.labels and labels is None:
                return None
            if all((labels or {}).get(key) == value for key, value in rule.labels):
                return rule
        return self.default


def policy_problems(rule: Rule, wanted: Wanted, namespace: str) -> list[Problem]:
    """Return a problem for each thing the pod asks for that the rule doesn't allow."""
    found: list[Problem] = []
    for mount in wanted.mounts:
        found += _mount_problems(rule, mount, namespace)
    if rule.maximum_mounts is not None and len(wanted.mounts) > rule.maximum_mounts:
        text = f"allows at most {rule.maximum_mounts} per pod"
        found.append(_refusal(rule, namespace, BUCKET, f"{len(wanted.mounts)} mounts", text))
    return found + list(_resource_problems(rule, wanted.worker, namespace))


def capped(platform: Platform, rule: Rule) -> Platform:
    """Return the platform's settings with a rule's choices, and defaults capped by its maxima."""
    if rule.keeper is not None:
        platform = platform.replaced(keeper=rule.keeper)
    if rule.cache is not None:
        platform = platform.replaced(cache=rule.cache)
    if rule.maximum_cache_size is None and rule.maximum.unset:
        return platform
    base, most = platform.worker, rule.maximum
    worker = Resources(
        _least(base.cpu_request, most.cpu_request),
        _least(base.cpu_limit, most.cpu_limit) or most.cpu_limit,
        _least(base.memory_request, most.memory_request),
        _least(base.memory_limit, most.memory_limit) or most.memory_limit,
    )
    cache = min(platform.default_cache_size, rule.maximum_cache_size or platform.default_cache_size)
    return platform.replaced(worker=worker, default_cache_size=cache)


def ceiling(platform: Platform, rule: Rule) -> Resources:
    """Return a worker's maxima: the lower of each of the platform's and the rule's."""
    base, most = platform.maximum, rule.maximum
    names = ("cpu_request", "cpu_limit", "memory_request", "memory_limit")
    return Resources(*(_lower(getattr(base, name), getattr(most, name)) for name in names))


def _lower(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _least(value: int | None, most: int | None) -> int | None:
    return value if value is None or most is None else min(value, most)


def unknown_labels(namespace: str) -> Problem:
    """Return the problem while the labels that a rule needs are unknown."""
    rule = "the policy has rules by label, and this namespace's labels aren't known yet"
    return Problem(f"namespace {namespace}", None, rule, "Try again in a few seconds")


def _mount_problems(rule: Rule, mount: MountSpec, namespace: str) -> Iterable[Problem]:
    def refuse(name: str, value: str, text: str) -> Problem:
        return _refusal(rule, namespace, mount.key(name), value, text)

    covering = [grant for grant in rule.grants if grant.covers(mount, namespace)]
    if not covering:
        yield refuse("bucket", mount.source, f"doesn't allow this; allowed: {_granted(rule)}")
    elif not mount.read_only and all(grant.read_only for grant in covering):
        yield refuse("read-only", "false", f"allows {mount.source} read-only")
    yield from _credential_problems(rule, mount, namespace, refuse)
    endpoint = mount.endpoint or AWS
    if not any(matches_url(filled(e, namespace), endpoint) for e in rule.endpoints):
        text = f"doesn't allow this endpoint; allowed: {', '.join(rule.endpoints) or 'none'}"
        yield refuse("endpoint", endpoint, text)
    if rule.maximum_cache_size is not None and mount.cache_size > rule.maximum_cache_size:
        most = format_bytes(rule.maximum_cache_size)
        yield refuse("cache-size", format_bytes(mount.cache_size), f"allows at most {most}")


def _credential_problems(
    rule: Rule, mount: MountSpec, namespace: str, refuse: Callable[[str, str, str], Problem]
) -> Iterable[Problem]:
    if mount.secret is None:
        if not rule.sources & {IRSA, AMBIENT}:
            yield refuse("secret", "none", "asks for a Secret with credentials")
    elif SECRET not in rule.sources:
        yield refuse("secret", mount.secret, "allows no Secrets: use the pod's own identity, none")
    elif not any(matches_name(filled(s, namespace), mount.secret) for s in rule.secrets):
        text = f"doesn't allow this Secret; allowed: {', '.join(rule.secrets)}"
        yield refuse("secret", mount.secret, text)


def _resource_problems(rule: Rule, worker: Resources, namespace: str) -> Iterable[Problem]:
    for name, render in (("cpu", format_millicores), ("memory", format_bytes)):
        for part in ("request", "limit"):
            value: int | None = getattr(worker, f"{name}_{part}")
            most: int | None = getattr(rule.maximum, f"{name}_{part}")
            if value is not None and most is not None and value > most:
                key, text = f"s3.mount/{name}-{part}", f"allows at most {render(most)}"
                yield _refusal(rule, namespace, key, render(value), text)


def _refusal(rule: Rule, namespace: str, where: str, value: str, text: str) -> Problem:
    return Problem(where, value, f"policy rule {rule.name!r} for {namespace} {text}", _ASK)


def _granted(rule: Rule) -> str:
    shown = [
        f"{bucket}/{prefix}" if prefix else bucket
        for grant in rule.grants
        for bucket in grant.buckets
        for prefix in grant.prefixes
    ]
    return ", ".join(shown[:8]) or "nothing"
