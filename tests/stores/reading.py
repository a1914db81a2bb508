"""HEAD, GET and LIST."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote
from uuid import uuid4

from tests.stores.conditions import CHECKSUM, Quirks
from tests.stores.contents import Contents, Stored
from tests.stores.quirks import Quirk
from tests.stores.request import META, Refused, Reply, Request, document, element


def found(contents: Contents, key: str) -> Stored:
    """Return an object; 404 where there is none."""
    try:
        return contents.objects[key]
    except KeyError:
        raise Refused(404, "NoSuchKey", key) from None


def told(stored: Stored, quirks: Quirks) -> dict[str, str]:
    """Return the headers that tell of an object."""
    weak = "W/" if Quirk.WEAK_ETAGS in quirks else ""
    headers = {
        "etag": f'{weak}"{stored.etag}"',
        "last-modified": formatdate(stored.modified, usegmt=True),
        **stored.system,
        **{META + name: value for name, value in stored.metadata.items()},
    }
    if Quirk.DIRECTORY_BUCKET in quirks:
        headers |= {
            "x-amz-storage-class": "EXPRESS_ONEZONE",
            "x-amz-server-side-encryption": "AES256",
        }
    return headers


def head(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """HeadObject."""
    stored = found(contents, request.key)
    return Reply(200, told(stored, quirks) | {"content-length": str(len(stored.body))})


def get(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """GetObject: whole or one range."""
    mode = request.headers.get("x-amz-checksum-mode")
    if mode and Quirk.CHECKSUM_MODE_400 in quirks:
        raise Refused(400, "InvalidArgument", "Unsupported header 'x-amz-checksum-mode' received")
    stored = found(contents, request.key)
    match, unless = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match and match != f'"{stored.etag}"':
        raise Refused(412, "PreconditionFailed", "If-Match")
    headers = told(stored, quirks)
    if unless and unless.removeprefix("W/") == f'"{stored.etag}"':
        return Reply(304, headers)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
    if wanted is None:
        if mode == "ENABLED" and stored.checksum:
            kind = "COMPOSITE" if "-" in stored.checksum else "FULL_OBJECT"
            headers |= {CHECKSUM: stored.checksum, "x-amz-checksum-type": kind}
        return Reply(200, headers, stored.body)
    first, last = int(wanted[1]), min(int(wanted[2]), len(stored.body) - 1)
    if first > last:
        raise Refused(416, "InvalidRange")
    headers["content-range"] = f"bytes {first}-{last}/{len(stored.body)}"
    return Reply(206, headers, stored.body[first : last + 1])


def list_objects(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """ListObjectsV2."""
    query = request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    express = Quirk.DIRECTORY_BUCKET in quirks
    if express:
        _check_express(query)
    after = _after(contents, query)
    order = _scrambled if express else str
    names = {_cut(key, prefix, delimiter) for key in contents.objects if key.startswith(prefix)}
    left = [name for name in sorted(names, key=order) if after is None or order(name) > after]
    count = int(query.get("max-keys", "1000"))
    page, more = left[:count], len(left) > count
    parts = [element("Name", request.bucket), element("Prefix", quote(prefix))]
    parts += [element("EncodingType", "url"), element("IsTruncated", str(more).lower())]
    if more and Quirk.NO_TOKEN not in quirks:
        token = uuid4().hex
        contents.tokens[token] = order(page[-1])
        parts.append(element("NextContinuationToken", token))
    for name in page:
        stored = contents.objects.get(name)
        if stored is None or name != _cut(name, prefix, delimiter):
            parts.append(f"<CommonPrefixes>{element('Prefix', quote(name))}</CommonPrefixes>")
        else:
            parts.append(_entry(name, stored))
    return Reply(body=document("ListBucketResult", "".join(parts)))


def _after(contents: Contents, query: dict[str, str] | object) -> str | None:
    assert isinstance(query, dict)
    token = query.get("continuation-token")
    if token is None:
        return query.get("start-after")
    if token not in contents.tokens:
        raise Refused(400, "InvalidArgument", "The continuation token provided is incorrect")
    return contents.tokens[token]


def _check_express(query: dict[str, str] | object) -> None:
    assert isinstance(query, dict)
    if "start-after" in query:
        raise Refused(501, "NotImplemented", "start-after")
    if query.get("prefix") and not query["prefix"].endswith("/"):
        raise Refused(400, "InvalidRequest", "a prefix has to end with the delimiter")
    if query.get("delimiter", "/") != "/":
        raise Refused(400, "InvalidRequest", "the delimiter is /")


def _cut(key: str, prefix: str, delimiter: str) -> str:
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return key if at < 0 else key[: at + 1]


def _scrambled(key: str) -> str:
    return hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()


def _entry(name: str, stored: Stored) -> str:
    modified = datetime.fromtimestamp(stored.modified, UTC)
    return (
        "<Contents>"
        + element("Key", quote(name))
        + element("LastModified", modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        + element("ETag", f'"{stored.etag}"')
        + element("Size", len(stored.body))
        + "</Contents>"
    )
