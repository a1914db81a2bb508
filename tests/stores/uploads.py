"""Multipart uploads, with the limits of the S3 user guide."""

from __future__ import annotations

import hashlib
import re
from uuid import uuid4
from xml.etree import ElementTree

from tests.stores.conditions import CHECKSUM, Quirks, check_begin, check_body, check_write
from tests.stores.contents import Contents, Stored, Upload, crc32
from tests.stores.quirks import Quirk
from tests.stores.request import Refused, Reply, Request, document, element
from tests.stores.writing import check_new, copied, source_of

MIN_PART, MAX_PARTS = 5 << 20, 10_000


def begin(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """CreateMultipartUpload."""
    check_new(request, quirks)
    upload = uuid4().hex
    checked = check_begin(request, quirks)
    contents.uploads[upload] = Upload(request.key, request.metadata, request.system, checked)
    told = element("Bucket", request.bucket) + element("UploadId", upload)
    return Reply(body=document("InitiateMultipartUploadResult", told))


def _upload(contents: Contents, request: Request) -> Upload:
    found = contents.uploads.get(request.query["uploadId"])
    if found is None or found.key != request.key:
        raise Refused(404, "NoSuchUpload")
    return found


def _number(request: Request) -> int:
    number = int(request.query["partNumber"])
    if not 1 <= number <= MAX_PARTS:
        raise Refused(400, "InvalidArgument", "part numbers are 1 to 10000")
    return number


def part(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """UploadPart."""
    upload, number = _upload(contents, request), _number(request)
    checksum = check_body(request, quirks)
    if checksum and not upload.checked:
        raise Refused(400, "InvalidRequest", "Checksum Type mismatch: expected null, actual crc32")
    made = Stored(request.body, contents.etag(request.body), checksum=checksum)
    upload.parts[number] = made
    return Reply(200, {"etag": f'"{made.etag}"'} | ({CHECKSUM: checksum} if checksum else {}))


def copy_part(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """UploadPartCopy of a range."""
    if Quirk.NO_PART_COPY in quirks:
        raise Refused(501, "NotImplemented", "UploadPartCopy")
    upload, number = _upload(contents, request), _number(request)
    _, source = source_of(contents, request)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["x-amz-copy-source-range"])
    if wanted is None or int(wanted[2]) >= len(source.body) or int(wanted[1]) > int(wanted[2]):
        raise Refused(400, "InvalidArgument", "the range is not within the source")
    if len(source.body) <= MIN_PART:
        raise Refused(400, "InvalidRequest", "the source of a range must be over 5 MB")
    body = source.body[int(wanted[1]) : int(wanted[2]) + 1]
    checksum = crc32(body) if upload.checked else None
    if checksum and source.checksum and Quirk.COPIED_PARTS_HAVE_SOURCES_CHECKSUM in quirks:
        checksum = source.checksum
    made = upload.parts[number] = Stored(body, contents.etag(body), checksum=checksum)
    told = copied(made) + (element("ChecksumCRC32", checksum) if checksum else "")
    return Reply(body=document("CopyPartResult", told))


def complete(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """CompleteMultipartUpload."""
    upload = _upload(contents, request)
    listed = _listed(request.body)
    parts = _checked(upload, listed, quirks)
    check_write(request, contents.objects.get(request.key), quirks)
    digests = b"".join(hashlib.md5(made.body, usedforsecurity=False).digest() for made in parts)
    etag = contents.etag(digests)
    if Quirk.DIRECTORY_BUCKET not in quirks:
        etag = f"{etag}-{len(parts)}"
    body = b"".join(made.body for made in parts)
    checksum = f"{crc32(digests)}-{len(parts)}" if upload.checked else None
    contents.objects[request.key] = Stored(
        body, etag, upload.metadata, upload.system, checksum=checksum
    )
    del contents.uploads[request.query["uploadId"]]
    return Reply(body=document("CompleteMultipartUploadResult", element("ETag", f'"{etag}"')))


def _listed(body: bytes) -> list[dict[str, str]]:
    root = ElementTree.fromstring(body)  # noqa: S314 - from the code under test
    return [
        {field.tag.rpartition("}")[2]: (field.text or "") for field in item}
        for item in root
        if item.tag.endswith("Part")
    ]


def _checked(upload: Upload, listed: list[dict[str, str]], quirks: Quirks) -> list[Stored]:
    numbers = [int(item["PartNumber"]) for item in listed]
    if not numbers or numbers != sorted(set(numbers)):
        raise Refused(400, "InvalidPartOrder")
    if Quirk.DIRECTORY_BUCKET in quirks and numbers != list(range(1, len(numbers) + 1)):
        raise Refused(400, "InvalidPart", "part numbers have to be consecutive")
    parts = []
    for number, item in zip(numbers, listed, strict=True):
        made = upload.parts.get(number)
        if made is None or item["ETag"].strip('"') != made.etag:
            raise Refused(400, "InvalidPart", str(number))
        told = item.get("ChecksumCRC32")
        if "-" in (told or ""):
            raise Refused(400, "InvalidArgument", "Invalid Base64 or multiple checksums present")
        if upload.checked and told is None:
            raise Refused(400, "InvalidRequest", f"the checksum of part {number} is missing")
        if told != made.checksum:
            raise Refused(400, "InvalidPart", f"the checksum of part {number}")
        parts.append(made)
    _check_sizes([len(made.body) for made in parts], quirks)
    return parts


def _check_sizes(sizes: list[int], quirks: Quirks) -> None:
    *before, last = sizes
    if any(size < MIN_PART for size in before):
        raise Refused(400, "EntityTooSmall")
    if Quirk.EQUAL_PARTS in quirks and before and (len({*before}) > 1 or last > before[0]):
        raise Refused(400, "InvalidPart", "All non-trailing parts must have the same length.")


def abort(contents: Contents, request: Request, quirks: Quirks) -> Reply:
    """AbortMultipartUpload."""
    del quirks
    _upload(contents, request)
    del contents.uploads[request.query["uploadId"]]
    return Reply(204)
