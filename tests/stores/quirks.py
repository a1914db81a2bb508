"""What stores do that AWS doesn't, one name each, and the stores that do it.

Without any the server answers as the Amazon S3 API reference says. Where a profile comes from is
in `docs/stores.md`.
"""

from __future__ import annotations

from enum import Enum, auto


class Quirk(Enum):
    """One deviation."""

    EQUAL_PARTS = auto()  # 400 for parts of different sizes; the last may be smaller
    CONDITIONS_501 = auto()  # PUT with If-Match or If-None-Match
    CONDITIONS_400 = auto()
    IF_MATCH_501 = auto()  # only this one of the two
    IGNORES_CONDITIONS = auto()
    CHECKSUMS_400 = auto()  # x-amz-checksum-* of a request with a body
    CHECKSUMS_501 = auto()
    CHECKSUM_MODE_400 = auto()  # x-amz-checksum-mode of a GET
    COPY_CONDITIONS_501 = auto()  # CopyObject and DeleteObject with a condition
    COPIED_PARTS_HAVE_SOURCES_CHECKSUM = auto()  # UploadPartCopy tells that, and keeps it
    NO_PART_COPY = auto()  # 501 for UploadPartCopy
    NO_MARKER_COPY = auto()  # 400 for CopyObject of `name/`
    NO_TOKEN = auto()  # IsTruncated without NextContinuationToken
    WEAK_ETAGS = auto()  # HEAD and GET say W/"…", as behind a compressing proxy
    DIRECTORY_BUCKET = auto()  # S3 Express One Zone


PROFILES: dict[str, frozenset[Quirk]] = {
    "aws": frozenset(),
    "r2": frozenset({Quirk.EQUAL_PARTS}),
    "oss": frozenset({Quirk.CONDITIONS_501, Quirk.COPY_CONDITIONS_501}),
    "b2": frozenset({Quirk.CHECKSUMS_400, Quirk.CHECKSUM_MODE_400, Quirk.CONDITIONS_400}),
    "versitygw": frozenset({Quirk.COPIED_PARTS_HAVE_SOURCES_CHECKSUM, Quirk.NO_MARKER_COPY}),
    "gcs": frozenset({Quirk.NO_PART_COPY, Quirk.IGNORES_CONDITIONS, Quirk.CHECKSUMS_501}),
    "proxied": frozenset({Quirk.WEAK_ETAGS}),
    "express": frozenset({Quirk.DIRECTORY_BUCKET}),
}
