"""What a bucket keeps: objects, unfinished uploads, and where listings stand. No HTTP.

`lock` is held by the server over each operation that changes something, so tests may look at any
time.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4


def crc32(body: bytes) -> str:
    """Return a CRC32 as S3 writes it."""
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


@dataclass(frozen=True)
class Stored:
    """One object; `etag` without quotes, `metadata` as latin-1 tells its bytes."""

    body: bytes
    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)
    modified: float = field(default_factory=time.time)
    checksum: str | None = None


@dataclass
class Upload:
    """A multipart upload; `checked`: it was begun with CRC32 as its algorithm."""

    key: str
    metadata: Mapping[str, str]
    system: Mapping[str, str]
    checked: bool
    parts: dict[int, Stored] = field(default_factory=dict)


class Contents:
    """The one bucket of a server."""

    def __init__(self, random_etags: bool) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.tokens: dict[str, str] = {}
        self.lock = threading.RLock()
        self._random_etags = random_etags

    def etag(self, body: bytes) -> str:
        """Return the ETag of new content."""
        if self._random_etags:
            return uuid4().hex[:24]
        return hashlib.md5(body, usedforsecurity=False).hexdigest()

    def put(
        self,
        key: str,
        body: bytes = b"",
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Store an object as another client would; return its ETag."""
        etag = self.etag(body)
        told = {"content-type": content_type}
        self.objects[key] = Stored(body, etag, dict(metadata or {}), told, checksum=crc32(body))
        return etag

    def get(self, key: str) -> bytes:
        """Return the content of an object; KeyError if there is none."""
        return self.objects[key].body

    def keys(self) -> list[str]:
        """Return all keys in order."""
        return sorted(self.objects)
