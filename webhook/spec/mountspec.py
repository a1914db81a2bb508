"""A pod's annotations parsed to frozen specifications, or all problems in them.

Uses the table of annotations, the platform's defaults and maxima and the pod's securityContext,
whose user owns the files by default. Not here: what a namespace may mount (`policy`), how a mount
is injected into a pod (`injection`). Pure functions.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from webhook.parse.quantities import format_bytes, format_millicores
from webhook.platform.resources import Resources
from webhook.platform.settings import Platform
from webhook.pods import Pod, annotations, section
from webhook.problems import Problem, example
from webhook.spec.annotations import (
    ANNOTATIONS,
    BUCKET,
    BY_NAME,
    DOMAIN,
    SETTINGS,
    STATUS,
    Annotation,
)

# The mount without a name; `.default` is refused.
UNNAMED = "default"
# Fits into a volume name after `s3-mount-credentials-` (63 characters).
_MOUNT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
# More than sixteen mounts need; a prefix or an option list is much shorter.
_MOST_ANNOTATIONS = 500
LONGEST_VALUE = 8192
# A longer key isn't a typing error, and comparing it takes long.
_LONGEST_TYPO = 40
# Of each annotation in the table: problems come in its order.
_POSITIONS = {annotation.name: position for position, annotation in enumerate(ANNOTATIONS)}
_RESOURCES = ("cpu-request", "cpu-limit", "memory-request", "memory-limit")
_UNITS = {"cpu": format_millicores, "memory": format_bytes}


@dataclass(frozen=True)
class MountSpec:
    """One mount with all its values: no default is applied later.

    `prefix` is empty or ends in a slash; `containers` is None for all; `secret` is None for the
    pod's own or the node's identity; `cache_size` is in bytes, `attr_ttl` in seconds. `settings`:
    keys and values of the worker's configuration that only the mount uses.
    """

    name: str
    bucket: str
    path: str
    prefix: str
    read_only: bool
    region: str | None
    endpoint: str | None
    secret: str | None
    containers: tuple[str, ...] | None
    uid: int
    gid: int
    file_mode: str
    dir_mode: str
    metadata: str
    cache_size: int
    attr_ttl: int
    options: str
    settings: tuple[tuple[str, int | str], ...] = ()

    def key(self, name: str) -> str:
        """Return the key of this mount's annotation with the given name."""
        return BY_NAME[name].key + ("" if self.name == UNNAMED else f".{self.name}")

    @property
    def source(self) -> str:
        """`bucket/prefix/`, for people."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket


@dataclass(frozen=True)
class Wanted:
    """A pod's mounts, the unnamed one first, and its worker's resources."""

    mounts: tuple[MountSpec, ...]
    worker: Resources


@dataclass(frozen=True)
class Asking:
    """All of a pod that says which mounts it gets: our annotations, and who owns files by default.

    Pods of one workload have equal ones.
    """

    annotations: tuple[tuple[str, str | None], ...]
    uid: int
    gid: int

    @property
    def length(self) -> int:
        """The number of characters of its texts."""
        return sum(len(key) + len(value or "") for key, value in self.annotations)


def asking(pod: Pod) -> Asking:
    """Return what a pod asks for, unparsed."""
    context = section(section(pod, "spec"), "securityContext")
    group = context.get("fsGroup")
    ours = [
        (key, value)
        for key, value in annotations(pod).items()
        if key.startswith(DOMAIN) and key != STATUS
    ]
    uid, gid = context.get("runAsUser"), context.get("runAsGroup") if group is None else group
    return Asking(tuple(ours), uid or 0, gid or 0)


def read(asked: Asking, platform: Platform) -> tuple[Wanted, list[Problem]]:
    """Return the valid mounts that a pod asks for, and all problems."""
    found: list[Problem] = []
    if excess := _size_problems(asked):
        return Wanted((), platform.worker), excess
    mounts, shared = _grouped(asked, found)
    if len(mounts) > platform.maximum_mounts:
        return Wanted((), platform.worker), [*found, _too_many(len(mounts), platform)]
    defaults = _defaults(asked, platform)
    specs = [_mount(name, mounts[name], defaults, found) for name in sorted(mounts, key=_order)]
    sound = tuple(spec for spec in specs if spec is not None)
    found += _excesses(sound, platform)
    worker = _worker(_parsed(shared, "", found), platform, found)
    return Wanted(sound, worker), found


def _size_problems(asked: Asking) -> list[Problem]:
    """Return problems of too many or too long annotations, before time is spent on them."""
    ours = asked.annotations
    if len(ours) > _MOST_ANNOTATIONS:
        rule = f"a pod may have at most {_MOST_ANNOTATIONS} annotations of s3mount"
        return [Problem(DOMAIN, str(len(ours)), rule, "Use fewer mounts, or more pods")]
    rule = f"must be at most {LONGEST_VALUE} characters long"
    return [
        Problem(key, value, rule, "Shorten it")
        for key, value in ours
        if len(value or "") > LONGEST_VALUE
    ]


def _too_many(count: int, platform: Platform) -> Problem:
    rule = f"a pod may have at most {platform.maximum_mounts} mounts"
    return Problem(BUCKET, f"{count} mounts", rule, "Use fewer mounts, or more pods")


def _order(name: str) -> tuple[bool, str]:
    return name != UNNAMED, name


def _grouped(
    asked: Asking, found: list[Problem]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return our annotations by mount name, and those for the whole pod."""
    mounts: dict[str, dict[str, str]] = {}
    shared: dict[str, str] = {}
    for key, value in sorted(asked.annotations):
        text = value or ""  # YAML reads a forgotten value as null
        name, dot, mount = key.removeprefix(DOMAIN).partition(".")
        problem = _key_problem(key, name, mount if dot else None)
        if problem is not None:
            found.append(problem)
        elif BY_NAME[name].per_mount:
            mounts.setdefault(mount or UNNAMED, {})[name] = text
        else:
            shared[name] = text
    if not mounts and shared:
        found.append(_missing_bucket(UNNAMED, next(iter(shared))))
    return mounts, shared


def _key_problem(key: str, name: str, mount: str | None) -> Problem | None:
    if name not in BY_NAME:
        return _unknown_key(key, name, mount)
    if mount is None:
        return None
    if not BY_NAME[name].per_mount:
        rule = "speaks of the whole pod and takes no mount name"
        return Problem(key, None, rule, example(BY_NAME[name].key))
    if mount == UNNAMED:
        rule = f"{UNNAMED!r} is the mount without a name"
        return Problem(key, None, rule, example(BY_NAME[name].key))
    if not _MOUNT_NAME.fullmatch(mount):
        rule = "a mount's name must be at most 40 characters of a-z, 0-9 and '-'"
        return Problem(key, None, rule, example(f"{BY_NAME[name].key}.models"))
    return None


def _unknown_key(key: str, name: str, mount: str | None) -> Problem:
    near = difflib.get_close_matches(name.lower(), BY_NAME, 1) if len(name) < _LONGEST_TYPO else []
    if not near:
        rule = f"is no annotation of s3mount; known after {DOMAIN} are {', '.join(BY_NAME)}"
        return Problem(key, None, rule, "Remove it")
    meant = DOMAIN + ".".join([near[0]] + ([mount] if mount else []))
    rule = f"is no annotation of s3mount; did you mean {meant}?"
    return Problem(key, None, rule, example(f'{meant}: "{BY_NAME[near[0]].example}"'))


def _defaults(asked: Asking, platform: Platform) -> dict[str, Any]:
    """Return the defaults of a mount's fields."""
    return {
        "path": "/var/s3",
        "prefix": "",
        "read_only": False,
        "region": platform.default_region,
        "endpoint": platform.default_endpoint,
        "secret": platform.default_secret,
        "containers": None,
        "uid": asked.uid,
        "gid": asked.gid,
        "file_mode": "0644",
        "dir_mode": "0755",
        "metadata": "posix",
        "cache_size": platform.default_cache_size,
        "attr_ttl": 60,
        "options": "",
    }


def _mount(
    name: str, given: Mapping[str, str], defaults: Mapping[str, Any], found: list[Problem]
) -> MountSpec | None:
    suffix = "" if name == UNNAMED else f".{name}"
    before = len(found)
    parsed = _parsed(given, suffix, found)
    if "bucket" not in given:
        found.append(_missing_bucket(name, next(iter(given))))
    if len(found) > before:
        return None
    settings = tuple((key, parsed.pop(at)) for at, key in SETTINGS.items() if at in parsed)
    spec = MountSpec(name=name, settings=settings, **(dict(defaults) | parsed))
    if problem := _arn_problem(spec):
        found.append(problem)
        return None
    return spec


def _arn_problem(mount: MountSpec) -> Problem | None:
    """Return a problem of an ARN with an endpoint other than AWS's, those of a VPC included."""
    if not mount.bucket.startswith("arn:") or mount.endpoint is None:
        return None
    host = urlsplit(mount.endpoint).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return None
    rule = "an ARN names an access point of AWS, which this endpoint doesn't have"
    remedy = f"Leave {mount.key('endpoint')} out, or name the bucket by its name"
    return Problem(mount.key("endpoint"), mount.endpoint, rule, remedy)


def _missing_bucket(mount: str, instead: str) -> Problem:
    suffix = "" if mount == UNNAMED else f".{mount}"
    said = instead if instead in _RESOURCES else instead + suffix
    rule = f"is missing, yet {DOMAIN}{said} is set"
    return Problem(BUCKET + suffix, None, rule, _example(BY_NAME["bucket"], suffix))


def _parsed(given: Mapping[str, str], suffix: str, found: list[Problem]) -> dict[str, Any]:
    parsed = {}
    for name in sorted(given, key=_POSITIONS.__getitem__):
        annotation, text = BY_NAME[name], given[name]
        try:
            parsed[annotation.field] = annotation.parse(text)
        except ValueError as error:
            rule = str(error) or annotation.rule
            where = annotation.key + suffix
            found.append(Problem(where, text, rule, _example(annotation, suffix)))
    return parsed


def _example(annotation: Annotation, suffix: str) -> str:
    return example(f'{annotation.key}{suffix}: "{annotation.example}"')


def _excesses(mounts: tuple[MountSpec, ...], platform: Platform) -> list[Problem]:
    limit = format_bytes(platform.maximum_cache_size)
    return [
        Problem(
            mount.key("cache-size"),
            format_bytes(mount.cache_size),
            f"the platform allows at most {limit} per mount",
            example(f'{mount.key("cache-size")}: "{limit}"'),
        )
        for mount in mounts
        if mount.cache_size > platform.maximum_cache_size
    ]


def _worker(given: Mapping[str, int], platform: Platform, found: list[Problem]) -> Resources:
    """Return the worker's resources: annotations over settings, no request above its limit."""
    chosen: dict[str, int | None] = {}
    for kind, render in _UNITS.items():
        request, limit = (given.get(f"{kind}_{part}") for part in ("request", "limit"))
        for part, value in (("request", request), ("limit", limit)):
            if value is None:
                continue
            most = getattr(platform.maximum, f"{kind}_{part}")
            if most is not None and value > most:
                rule = f"the platform allows at most {render(most)}"
                found.append(_resource_problem(kind, part, render(value), rule, render(most)))
        if request is not None and limit is not None and request > limit:
            rule = f"must not exceed {DOMAIN}{kind}-limit ({render(limit)})"
            found.append(_resource_problem(kind, "request", render(request), rule, render(limit)))
        chosen |= _pair(kind, request, limit, platform.worker)
    return Resources(**chosen)


def _resource_problem(kind: str, part: str, value: str, rule: str, right: str) -> Problem:
    key = f"{DOMAIN}{kind}-{part}"
    return Problem(key, value, rule, example(f'{key}: "{right}"'))


def _pair(
    kind: str, request: int | None, limit: int | None, base: Resources
) -> dict[str, int | None]:
    """Return request and limit of one kind: a default is adjusted to the pod's own value."""
    base_request: int | None = getattr(base, f"{kind}_request")
    base_limit: int | None = getattr(base, f"{kind}_limit")
    if limit is None and base_limit is not None:
        limit = max(base_limit, request or 0)
    if request is None and base_request is not None:
        request = base_request if limit is None else min(base_request, limit)
    return {f"{kind}_request": request, f"{kind}_limit": limit}
