"""S3 objects: the result of a HEAD, GET or LIST at one moment.

Plain immutable values; no requests, no POSIX meaning (that is `attributes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# A copy without these gets the bucket's defaults (API reference, CopyObject).
PLACED = ("StorageClass", "ServerSideEncryption", "SSEKMSKeyId")


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of an object, which every rewrite has to keep.

    `metadata` is the user metadata without its `x-amz-meta-` prefix, keys in lower case.
    `system` holds the other settings by boto3's parameter name (`ContentType`, `CacheControl`,
    `StorageClass`, `ServerSideEncryption`, …).
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. `etag` keeps its quotes off; `modified` is LastModified in seconds.

    `headers` is None if a LIST was the source, which has only `storage_class`.
    """

    key: str
    size: int
    etag: str
    modified: float
    headers: Headers | None = None
    storage_class: str | None = None

    @property
    def placed(self) -> Mapping[str, str]:
        """Storage class and encryption, which a copy has to repeat: else S3 takes the defaults."""
        stored = self.headers.system if self.headers is not None else {}
        kept = {name: stored[name] for name in PLACED if name in stored}
        if self.storage_class not in (None, "STANDARD"):
            kept.setdefault("StorageClass", str(self.storage_class))
        return kept


@dataclass(frozen=True, slots=True)
class Page:
    """One LIST answer: objects and common prefixes in key order, and the next token or None."""

    objects: tuple[ObjectInfo, ...]
    prefixes: tuple[str, ...] = ()
    next_token: str | None = None
