"""S3 objects as the filesystem sees them: what a HEAD, GET or LIST said at one moment.

Plain immutable values; no requests, no POSIX meaning (that is `attributes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Headers:
    """What travels with an object's content and has to survive each rewrite of ours.

    `metadata` is the user metadata without its `x-amz-meta-` prefix, keys in lower case.
    `system` holds the other settings by boto3's parameter name (`ContentType`, `CacheControl`,
    `StorageClass`, `ServerSideEncryption`, …).
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. `etag` keeps its quotes off; `modified` is LastModified in seconds.

    `headers` is None where a LIST was the source: it doesn't tell them.
    """

    key: str
    size: int
    etag: str
    modified: float
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One LIST answer: objects and common prefixes in key order, and how to go on (or None)."""

    objects: tuple[ObjectInfo, ...]
    prefixes: tuple[str, ...] = ()
    next_token: str | None = None
