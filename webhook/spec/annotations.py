"""The table of annotations: name, default, meaning, rule, example and parser of each.

Validation, denials, `python -m webhook annotations` and docs/annotations.md all use this table, so
that they always agree. Immutable, safe to share between threads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from webhook.parse import buckets, s3fsoptions, values
from webhook.parse.quantities import parse_bytes, parse_millicores

DOMAIN = "s3.mount/"
BUCKET = DOMAIN + "bucket"
STATUS = DOMAIN + "injected"
# The label of namespaces whose pods the API server sends to the webhook.
INJECTION = DOMAIN + "injection"


@dataclass(frozen=True)
class Annotation:
    """One annotation key, without its domain.

    `per_mount`: takes a `.NAME` for a named mount; the others are for the whole pod. `parse` raises
    ValueError for a text that `rule` doesn't allow, with a text if that is more exact. `setting`:
    the key in the worker's configuration that gets the value unchanged; the mount has the default,
    and no other code uses the annotation. Empty for annotations that other code uses.
    """

    name: str
    default: str
    meaning: str
    rule: str
    example: str
    parse: Callable[[str], Any]
    per_mount: bool = True
    setting: str = ""

    @property
    def key(self) -> str:
        return DOMAIN + self.name

    @property
    def field(self) -> str:
        """The attribute of `MountSpec` with the parsed value, if `setting` is empty."""
        return self.name.replace("-", "_")


_CPU_RULE = "must be a CPU quantity greater than 0, like 250m or 2"
_MEMORY_RULE = "must be a memory quantity greater than 0, like 256Mi or 1Gi"


def _positive(parse: Callable[[str], int]) -> Callable[[str], int]:
    def parse_positive(text: str) -> int:
        if (value := parse(text)) <= 0:
            raise ValueError
        return value

    return parse_positive


ANNOTATIONS = (
    Annotation(
        "bucket",
        "required",
        "Bucket name, access point alias or access point ARN; its presence asks for a mount.",
        "must be the name of a bucket or access point",
        "my-bucket",
        buckets.parse_bucket,
    ),
    Annotation(
        "path",
        "/var/s3",
        "Where the bucket appears in the containers.",
        "must be an absolute path in normal form that covers no system directory",
        "/var/s3",
        values.parse_path,
    ),
    Annotation(
        "prefix",
        "whole bucket",
        "Only keys under this prefix; it stands for a directory.",
        "must be the name of a directory in the bucket, without '.', '..' and empty parts",
        "datasets/2024/",
        values.parse_prefix,
    ),
    Annotation(
        "read-only",
        "false",
        "Mount read-only: every write fails with EROFS.",
        "must be true or false",
        "true",
        values.parse_boolean,
    ),
    Annotation(
        "region",
        "platform setting, else the SDK's",
        "Region of the bucket.",
        "must be the name of a region",
        "eu-central-1",
        values.parse_region,
    ),
    Annotation(
        "endpoint",
        "platform setting, else AWS",
        "URL of an S3 store that isn't AWS.",
        "must be the URL of an S3 endpoint",
        "https://minio.example.com:9000",
        values.parse_endpoint,
    ),
    Annotation(
        "secret",
        "platform setting, else `none`",
        "Secret in the pod's namespace with `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and "
        "optionally `AWS_SESSION_TOKEN`; `none`: the pod's own identity (IRSA, EKS Pod Identity) "
        "or, where the policy allows `ambient`, the node's.",
        "must be the name of a Secret, or none",
        "my-bucket-credentials",
        values.parse_secret,
    ),
    Annotation(
        "containers",
        "all but mesh proxies",
        "Comma separated list of the containers that get the mount, init containers included.",
        "must be a comma separated list of containers of this pod",
        "app,worker",
        values.parse_names,
    ),
    Annotation(
        "uid",
        "the pod's `runAsUser`, else 0",
        "Owner of files that have no owner stored with them.",
        "must be a number from 0 to 2147483647",
        "1000",
        values.parse_id,
    ),
    Annotation(
        "gid",
        "the pod's `fsGroup`, else its `runAsGroup`, else 0",
        "Group of files that have no group stored with them.",
        "must be a number from 0 to 2147483647",
        "1000",
        values.parse_id,
    ),
    Annotation(
        "file-mode",
        "0644",
        "Permissions of files that have none stored with them.",
        "must be permissions in octal, from 0000 to 0777",
        "0640",
        values.parse_mode,
    ),
    Annotation(
        "dir-mode",
        "0755",
        "Permissions of directories that have none stored with them.",
        "must be permissions in octal, from 0000 to 0777",
        "0750",
        values.parse_mode,
    ),
    Annotation(
        "metadata",
        "posix",
        "`posix`: owner, mode, times and links are kept in the objects' metadata, as s3fs does; "
        "`none`: no attributes are stored or fetched (fastest).",
        "must be posix or none",
        "none",
        values.parse_metadata,
    ),
    Annotation(
        "cache-size",
        "platform setting, else 1Gi",
        "Limit of the disk cache, which also holds what waits for upload.",
        "must be a quantity of bytes, at least 64Mi",
        "10Gi",
        values.parse_cache_size,
    ),
    Annotation(
        "attr-ttl",
        "60s",
        "How long attributes and listings are trusted before S3 is asked again.",
        "must be a duration in s, m or h, at most 24h",
        "5m",
        values.parse_ttl,
    ),
    Annotation(
        "negative-ttl",
        "1s",
        "How long a name that isn't there is not asked for again.",
        "must be a duration in s, m or h, at most 24h",
        "10s",
        values.parse_ttl,
        setting="negativeTtl",
    ),
    Annotation(
        "content-ttl",
        "0s",
        "How long before an open for reading S3 may have been asked for the file's version: with "
        "more than 0 small files are fetched ahead, cached ones open without a request, and a name "
        "that a listing lacks counts as missing.",
        "must be a duration in s, m or h, at most 24h",
        "60s",
        values.parse_ttl,
        setting="contentTtl",
    ),
    Annotation(
        "passthrough",
        "false",
        "The kernel reads files that are cached as a whole by itself, also where they can be "
        "written: what is written to such a file in the pod is seen by those who open it then, "
        "not by those who have it open (`tail -f`). Read-only mounts do it anyway.",
        "must be true or false",
        "true",
        values.parse_boolean,
        setting="passthrough",
    ),
    Annotation(
        "on-conflict",
        "fail",
        "What happens to a change of a file that somebody else has replaced meanwhile: `fail`: the "
        "writer gets ESTALE and its bytes are kept aside; `overwrite`: the later one wins.",
        "must be fail or overwrite",
        "overwrite",
        values.parse_conflict,
        setting="onConflict",
    ),
    Annotation(
        "retry-for",
        "30s",
        "How long a request waits for a store that doesn't answer before the application gets an "
        "error.",
        "must be a duration in s, m or h, at most 24h",
        "2m",
        values.parse_wait,
        setting="retryFor",
    ),
    Annotation(
        "full-wait",
        "10s",
        "How long a write waits for room on a cache disk that is full of what isn't uploaded yet "
        "before it gets ENOSPC.",
        "must be a duration in s, m or h, at most 24h",
        "1m",
        values.parse_wait,
        setting="fullWait",
    ),
    Annotation(
        "options",
        "none",
        "s3fs options, for who comes from s3fs: those with a counterpart are mapped, harmless "
        "ones accepted, unknown ones denied.",
        "must be a comma separated list of s3fs options",
        "retries=5,stat_cache_expire=900",
        s3fsoptions.parse_options,
    ),
    Annotation(
        "cpu-request",
        "platform setting",
        "CPU the mount's worker asks for.",
        _CPU_RULE,
        "250m",
        _positive(parse_millicores),
        per_mount=False,
    ),
    Annotation(
        "cpu-limit",
        "platform setting",
        "CPU the mount's worker may use.",
        _CPU_RULE,
        "2",
        _positive(parse_millicores),
        per_mount=False,
    ),
    Annotation(
        "memory-request",
        "platform setting",
        "Memory the mount's worker asks for.",
        _MEMORY_RULE,
        "256Mi",
        _positive(parse_bytes),
        per_mount=False,
    ),
    Annotation(
        "memory-limit",
        "platform setting",
        "Memory the mount's worker may use; what is read ahead stays within it.",
        "must be a memory quantity, at least 128Mi",
        "1Gi",
        values.parse_memory_limit,
        per_mount=False,
    ),
)
BY_NAME = {annotation.name: annotation for annotation in ANNOTATIONS}
# Annotations that go into the worker's configuration unchanged.
SETTINGS = {
    annotation.field: annotation.setting for annotation in ANNOTATIONS if annotation.setting
}
