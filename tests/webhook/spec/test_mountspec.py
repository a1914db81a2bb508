"""docs/annotations.md: every annotation, with and without a name, and what is wrong with it."""

from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import Platform, read_platform
from webhook.problems import Problem
from webhook.spec.annotations import ANNOTATIONS, Annotation
from webhook.spec.mountspec import MountSpec, Wanted, asking, read

MOUNTED = [a for a in ANNOTATIONS if a.per_mount]
SHARED = [a for a in ANNOTATIONS if not a.per_mount]
# A value of each annotation that isn't its default, and how it reads.
VALUES: dict[str, tuple[str, Any]] = {
    "bucket": ("other-bucket", "other-bucket"),
    "path": ("/other", "/other"),
    "prefix": ("a/b", "a/b/"),
    "read-only": ("true", True),
    "region": ("eu-west-1", "eu-west-1"),
    "endpoint": ("https://S3.example:443/", "https://s3.example"),
    "secret": ("keys", "keys"),
    "containers": (" app, app ", ("app",)),
    "uid": ("7", 7),
    "gid": ("0", 0),
    "file-mode": ("600", "0600"),
    "dir-mode": ("0700", "0700"),
    "metadata": ("none", "none"),
    "cache-size": ("2Gi", 2**31),
    "attr-ttl": ("5m", 300),
    "negative-ttl": ("0", 0),
    "content-ttl": ("1m", 60),
    "passthrough": ("true", True),
    "on-conflict": ("overwrite", "overwrite"),
    "retry-for": ("2m", 120),
    "full-wait": ("0", 0),
    "options": ("retries=5, noatime", "retries=5,noatime"),
}
WRONG = {"bucket": "A", "path": "x", "prefix": "/", "read-only": "1", "region": "", "endpoint": "x",
         "secret": "", "containers": "", "uid": "x", "gid": "-1", "file-mode": "8",
         "dir-mode": "rwx", "metadata": "", "cache-size": "1", "attr-ttl": "x",
         "negative-ttl": "x", "content-ttl": "x", "passthrough": "1", "on-conflict": "win",
         "retry-for": "25h", "full-wait": "-1",
         "options": "nope"}  # fmt: skip


def understood(annotations: dict[str, str], **environ: str) -> tuple[Wanted, list[Problem]]:
    given = {f"s3.mount/{key}": value for key, value in annotations.items()}
    return read(asking(reviews.pod(given)), read_platform(environ) if environ else Platform())


def mount(annotations: dict[str, str], name: str = "default") -> MountSpec:
    wanted, problems = understood(annotations)
    assert problems == []
    (found,) = [each for each in wanted.mounts if each.name == name]
    return found


def test_every_annotation_of_a_mount_is_tried_here() -> None:
    """A new annotation needs a line in both tables above."""
    assert VALUES.keys() == WRONG.keys() == {a.name for a in MOUNTED}


@pytest.mark.parametrize("annotation", MOUNTED, ids=lambda a: a.name)
@pytest.mark.parametrize("suffix", ["", ".models"])
def test_annotation_sets_its_own_mount_alone(annotation: Annotation, suffix: str) -> None:
    """With a name it speaks of the mount of that name, without one of the unnamed mount."""
    text, expected = VALUES[annotation.name]
    both = {"bucket": "my-bucket", "bucket.models": "my-bucket", "path.models": "/m"}
    given = both | {annotation.name + suffix: text}
    ours, others = ("models", "default") if suffix else ("default", "models")
    found = mount(given, ours)
    told = dict(found.settings).get(annotation.setting)
    assert (told if annotation.setting else getattr(found, annotation.field)) == expected
    assert mount(given, others) == mount(both, others)


@pytest.mark.parametrize("annotation", MOUNTED, ids=lambda a: a.name)
@pytest.mark.parametrize("suffix", ["", ".models"])
def test_wrong_value_is_named_with_its_key(annotation: Annotation, suffix: str) -> None:
    """The problem has the key as it was written, the value, a rule and an example of that key."""
    given = {f"bucket{suffix}": "my-bucket"} | {annotation.name + suffix: WRONG[annotation.name]}
    _, (problem,) = understood(given)
    assert (problem.where, problem.value) == (annotation.key + suffix, WRONG[annotation.name])
    assert problem.rule
    assert f"Example: {annotation.key}{suffix}: " in problem.remedy


@pytest.mark.parametrize("annotation", SHARED, ids=lambda a: a.name)
def test_resources_speak_of_the_whole_pod(annotation: Annotation) -> None:
    """They have no name, set the worker's resources and are refused with a name."""
    value = {"cpu": "500m", "memory": "512Mi"}[annotation.name.split("-")[0]]
    wanted, problems = understood({"bucket": "my-bucket", annotation.name: value})
    assert problems == []
    assert getattr(wanted.worker, annotation.field) in (500, 512 * 2**20)
    _, (problem,) = understood({"bucket": "my-bucket", f"{annotation.name}.models": value})
    assert "whole pod" in problem.rule


def test_a_mount_needs_a_bucket() -> None:
    """Any other annotation without it is denied, by the name of the mount."""
    _, problems = understood({"path.models": "/m", "bucket": "my-bucket"})
    assert [problem.where for problem in problems] == ["s3.mount/bucket.models"]


def test_all_problems_come_at_once() -> None:
    """Nobody has to repair a pod one denial at a time."""
    _, problems = understood({"bucket": "A", "path": "x", "bucket.b": "my-bucket", "uid.b": "me"})
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("buket", "bucket"),
        ("Bucket", "bucket"),
        ("readonly.a", "read-only.a"),
        ("atr-ttl", "attr-ttl"),
    ],
)
def test_unknown_key_is_denied_with_the_nearest(key: str, meant: str) -> None:
    """A typing error is told with what was probably meant."""
    _, problems = understood({"bucket": "my-bucket", key: "x"})
    assert [p.rule for p in problems] == [
        f"is no annotation of s3mount; did you mean s3.mount/{meant}?"
    ]


def test_defaults_come_from_the_platform() -> None:
    """What a mount doesn't say, the platform's settings do."""
    environ = {"S3MOUNT_DEFAULT_REGION": "eu-west-1", "S3MOUNT_DEFAULT_CACHE_SIZE": "2Gi"}
    wanted, _ = understood({"bucket": "my-bucket"}, **environ)
    assert (wanted.mounts[0].region, wanted.mounts[0].cache_size) == ("eu-west-1", 2**31)


def test_default_cache_is_within_the_platforms_maximum() -> None:
    """A pod that says nothing of its cache isn't denied for its size."""
    wanted, problems = understood({"bucket": "my-bucket"}, S3MOUNT_MAXIMUM_CACHE_SIZE="512Mi")
    assert (wanted.mounts[0].cache_size, problems) == (2**29, [])


def test_password_in_an_endpoint_is_not_repeated() -> None:
    """A denial goes to events and logs: credentials in a URL are left out of it."""
    _, (problem,) = understood({"bucket": "my-bucket", "endpoint": "https://key:hunter2@minio"})
    assert '"https://…@minio"' in str(problem)
    assert "hunter2" not in str(problem)
