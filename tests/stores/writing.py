"""PUT, copy, delete and rename of one object."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

from tests.stores.conditions import Quirks, check_body, check_other, check_source, check_write
from tests.stores.contents import Contents, Stored
from tests.stores.quirks import Quirk
from tests.stores.reading import found
from tests.stores.request import Refused, Reply, Request, document, element

# Headers of general purpose buckets that directory buckets refuse.
NOT_EXPRESS = ("x-amz-tagging", "x-amz-acl", "x-amz-website-redirect-location")


def check_new(request: Request, quirks: Quirks) -> None:
    """Check the headers of what is to be an object."""
    size = sum(len(name) + len(value) for name, value in request.metadata.items())
    if size > 2048:
        raise Refused(400, "MetadataTooLarge")
    if Quirk.DIRECTORY_BUCKET not in quirks:
        return
    for name in NOT_EXPRESS:
        if name in request.headers:
            raise Refused(501, "NotImplemented", name)
    if request.headers.get("x-amz-storage-class", "EXPRESS_ONEZONE") != "EXPRESS_ONEZONE":
        raise Refused(400, "InvalidStorageClass")
    if "x-amz-server-side-encryption" in request.headers:
        raise Refused(400, "InvalidRequest", "the encryption is that of the session")


def put(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """PutObject."""
    check_new(request, quirks)
    checksum = check_body(request, quirks)
    check_write(request, contents.objects.get(request.key), quirks)
    etag = contents.etag(request.body)
    contents.objects[request.key] = Stored(
        request.body, etag, request.metadata, request.system, checksum=checksum
    )
    told = {"etag": f'"{etag}"'} | ({"x-amz-checksum-crc32": checksum} if checksum else {})
    return Reply(200, told)


def source_of(contents: Contents, request: Request) -> tuple[str, Stored]:
    """Return key and object of a copy's source, its condition checked."""
    path = unquote(request.headers["x-amz-copy-source"]).lstrip("/")
    bucket, _, key = path.partition("/")
    if bucket != request.bucket:
        raise Refused(404, "NoSuchBucket", bucket)
    source = found(contents, key)
    check_source("x-amz-copy-source", request, source)
    return key, source


def copy(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """CopyObject."""
    key, source = source_of(contents, request)
    if Quirk.NO_MARKER_COPY in quirks and key.endswith("/"):
        raise Refused(400, "DirectoryObjectContainsData", "directories can't be copied")
    check_new(request, quirks)
    check_other(request, contents.objects.get(request.key), quirks)
    replaces = request.headers.get("x-amz-metadata-directive") == "REPLACE"
    if key == request.key and not replaces:
        raise Refused(400, "InvalidRequest", "a copy onto itself that changes nothing")
    made = Stored(
        source.body,
        contents.etag(source.body),
        request.metadata if replaces else source.metadata,
        request.system if replaces else source.system,
        checksum=source.checksum,
    )
    contents.objects[request.key] = made
    return Reply(body=document("CopyObjectResult", copied(made)))


def copied(made: Stored) -> str:
    """Return what a copy's answer tells of its result."""
    modified = datetime.fromtimestamp(made.modified, UTC)
    return element("LastModified", modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")) + element(
        "ETag", f'"{made.etag}"'
    )


def delete(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """DeleteObject."""
    check_other(request, contents.objects.get(request.key), quirks)
    contents.objects.pop(request.key, None)
    return Reply(204)


def rename(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """RenameObject: of directory buckets alone, and not for keys that end in a slash."""
    if Quirk.DIRECTORY_BUCKET not in quirks:
        raise Refused(501, "NotImplemented", "RenameObject")
    key = unquote(request.headers["x-amz-rename-source"]).lstrip("/")
    if key.endswith("/") or request.key.endswith("/"):
        raise Refused(400, "InvalidRequest", "keys that end with the delimiter")
    source = found(contents, key)
    check_source("x-amz-rename-source", request, source)
    check_write(request, contents.objects.get(request.key), quirks)
    contents.objects[request.key] = replace(source)
    del contents.objects[key]
    return Reply(200)
