"""S3 objects as the filesystem sees them: what a HEAD, GET or LIST said at one moment.

Plain immutable values; no requests, no POSIX meaning (that is `attributes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What S3 takes the bucket's defaults for in a copy that doesn't say it (API reference, CopyObject).
PLACED = ("StorageClass", "ServerSideEncryption", "SSEKMSKeyId")


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

    `headers` is None where a LIST was the source: it doesn't tell them, but `storage_class`.
    """

    key: str
    size: int
    etag: str
    modified: float
    headers: Headers | None = None
    storage_class: str | None = None

    @property
    def placed(self) -> Mapping[str, str]:
        """How the store keeps it, which a copy has to be told again: else S3 takes its defaults."""
        told = self.headers.system if self.headers is not None else {}
        kept = {name: told[name] for name in PLACED if name in told}
        if self.storage_class not in (None, "STANDARD"):
            kept.setdefault("StorageClass", str(self.storage_class))
        return kept


@dataclass(frozen=True, slots=True)
class Page:
    """One LIST answer: objects and common prefixes in key order, and how to go on (or None)."""

    objects: tuple[ObjectInfo, ...]
    prefixes: tuple[str, ...] = ()
    next_token: str | None = None
