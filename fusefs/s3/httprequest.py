"""Translate boto3's operations and arguments to HTTP: method, query, headers and body. Pure.

Not here: host, signature and connections (`fastpath`). A request with an argument that isn't known
here gives None, and is left to boto3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusefs.s3 import documents
from fusefs.s3.partbody import Body
from fusefs.s3.signing import encoded

# boto3's parameters and their headers (S3 API reference).
HEADERS = {
    "ACL": "x-amz-acl",
    "CacheControl": "cache-control",
    "ChecksumAlgorithm": "x-amz-checksum-algorithm",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ChecksumMode": "x-amz-checksum-mode",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentMD5": "content-md5",
    "ContentType": "content-type",
    "CopySourceIfMatch": "x-amz-copy-source-if-match",
    "CopySourceRange": "x-amz-copy-source-range",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "MetadataDirective": "x-amz-metadata-directive",
    "Range": "range",
    "RequestPayer": "x-amz-request-payer",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
}
QUERY = {
    "ContinuationToken": "continuation-token",
    "Delimiter": "delimiter",
    "MaxKeys": "max-keys",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "StartAfter": "start-after",
    "UploadId": "uploadId",
}
METHODS = {
    "abort_multipart_upload": "DELETE",
    "complete_multipart_upload": "POST",
    "copy_object": "PUT",
    "create_multipart_upload": "POST",
    "delete_object": "DELETE",
    "get_object": "GET",
    "head_object": "HEAD",
    "list_objects_v2": "GET",
    "put_object": "PUT",
    "upload_part": "PUT",
    "upload_part_copy": "PUT",
}
# Query parameters that every request of the operation has.
ALWAYS = {
    "create_multipart_upload": {"uploads": ""},
    "list_objects_v2": {"list-type": "2", "encoding-type": "url"},
}
META = "x-amz-meta-"
# Arguments that are neither a header nor a part of the query.
OTHERS = frozenset({"Bucket", "Body", "CopySource", "Key", "Metadata", "MultipartUpload"})
WITH_BODY = ("PUT", "POST")


@dataclass(slots=True)
class HttpRequest:
    """A request for a key of one bucket, without host and signature."""

    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body


def request_of(operation: str, arguments: Mapping[str, Any]) -> HttpRequest | None:
    """Translate a request of boto3's; None where one of its arguments isn't known here."""
    headers: dict[str, str] = {}
    query: dict[str, str] = dict(ALWAYS.get(operation, ()))
    others: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in HEADERS:
            headers[HEADERS[name]] = value
        elif name in QUERY:
            query[QUERY[name]] = str(value)
        elif name in OTHERS:
            others[name] = value
        else:
            return None
    body = _body(others, headers)
    sent = "".join([*headers, *headers.values()])
    plain = (sent.isascii() and sent.isprintable()) or _plain(headers)
    if not isinstance(body, Body) or not plain:
        return None
    if METHODS[operation] in WITH_BODY:
        headers["content-length"] = str(len(body))
    return HttpRequest(others.get("Key", ""), query, headers, body)


def _body(others: Mapping[str, Any], headers: dict[str, str]) -> Any:
    """Return the body; add the headers whose value isn't the argument itself."""
    if "CopySource" in others:
        source = others["CopySource"]
        # Behind an access point, the source is the object's ARN (S3 API reference, CopyObject).
        below = "/object/" if source["Bucket"].startswith("arn:") else "/"
        headers["x-amz-copy-source"] = encoded(f"{source['Bucket']}{below}{source['Key']}")
    if "Metadata" in others:
        for name, value in others["Metadata"].items():
            headers[META + name] = value
    if "MultipartUpload" in others:
        return documents.completion(others["MultipartUpload"]["Parts"])
    return others.get("Body", b"")


def _plain(headers: Mapping[str, str]) -> bool:
    """Return whether all headers can be sent; other programs' metadata may hold any bytes."""
    for name, text in headers.items():
        if not (name.isascii() and name.isprintable()):
            return False
        if text.isascii() and text.isprintable():
            continue
        if not name.startswith(META) or not all(map(_sendable, text)):
            return False
    return True


def _sendable(char: str) -> bool:
    return " " <= char <= "\xff" and char != "\x7f"
