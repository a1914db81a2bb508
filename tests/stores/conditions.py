"""Preconditions and checksums: the headers that say when a request may be carried out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection

from tests.stores.contents import Stored, crc32
from tests.stores.quirks import Quirk
from tests.stores.request import Refused, Request

Quirks = Collection[Quirk]
CHECKSUM = "x-amz-checksum-crc32"
NOT_IMPLEMENTED = "A header you provided implies functionality that is not implemented"


def check_write(request: Request, there: Stored | None, quirks: Quirks) -> None:
    """Check the conditions of a PUT or Complete."""
    none, match = request.headers.get("if-none-match"), request.headers.get("if-match")
    if none is None and match is None:
        return
    if Quirk.CONDITIONS_501 in quirks or (match and Quirk.IF_MATCH_501 in quirks):
        raise Refused(501, "NotImplemented", NOT_IMPLEMENTED)
    if Quirk.CONDITIONS_400 in quirks:
        raise Refused(400, "InvalidArgument", "Unsupported header received for this API call")
    if Quirk.IGNORES_CONDITIONS not in quirks:
        compare(none, match, there)


def check_other(request: Request, there: Stored | None, quirks: Quirks) -> None:
    """Check the conditions of a copy or delete."""
    none, match = request.headers.get("if-none-match"), request.headers.get("if-match")
    if Quirk.COPY_CONDITIONS_501 in quirks and (none or match):
        raise Refused(501, "NotImplemented", NOT_IMPLEMENTED)
    if Quirk.IGNORES_CONDITIONS not in quirks:
        compare(none, match, there)


def compare(none: str | None, match: str | None, there: Stored | None) -> None:
    """Compare as RFC 9110 says: strongly."""
    if none not in (None, "*"):
        raise Refused(501, "NotImplemented", "If-None-Match takes * only")
    if none and there is not None:
        raise Refused(412, "PreconditionFailed", "If-None-Match")
    if match and there is None:
        raise Refused(404, "NoSuchKey")
    if match and there is not None and match != f'"{there.etag}"':
        raise Refused(412, "PreconditionFailed", "If-Match")


def check_source(prefix: str, request: Request, source: Stored) -> None:
    """Check what a copy or rename wants its source to be."""
    match = request.headers.get(f"{prefix}-if-match")
    if match and match != f'"{source.etag}"':
        raise Refused(412, "PreconditionFailed", f"{prefix}-if-match")


def check_body(request: Request, quirks: Quirks) -> str | None:
    """Check the checksum of a body; return it."""
    _refuse_checksums(request, quirks)
    md5 = request.headers.get("content-md5")
    if md5 is not None:
        digest = hashlib.md5(request.body, usedforsecurity=False).digest()
        if md5 != base64.b64encode(digest).decode():
            raise Refused(400, "BadDigest", "the MD5 is another one")
    told = request.headers.get(CHECKSUM)
    if told is not None and told != crc32(request.body):
        raise Refused(400, "BadDigest", "the CRC32 is another one")
    return told


def _refuse_checksums(request: Request, quirks: Quirks) -> None:
    names = [name for name in request.headers if name.startswith(("x-amz-checksum", "x-amz-sdk"))]
    if names and Quirk.CHECKSUMS_400 in quirks:
        raise Refused(400, "InvalidArgument", f"Unsupported header '{names[0]}' received")
    if names and Quirk.CHECKSUMS_501 in quirks:
        raise Refused(501, "NotImplemented", NOT_IMPLEMENTED)


def check_begin(request: Request, quirks: Quirks) -> bool:
    """Check what CreateMultipartUpload says of checksums; return whether parts have one."""
    _refuse_checksums(request, quirks)
    return request.headers.get("x-amz-checksum-algorithm") == "CRC32"
