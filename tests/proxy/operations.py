"""The S3 operation a request asks for, told from its method, path, query and headers.

Names and rules are those of the Amazon S3 API Reference, path-style requests only.
"""

from __future__ import annotations

from collections.abc import Mapping

# Query parameters that select a sub-resource, in the order in which they decide.
_OBJECT = {
    ("GET", "tagging"): "GetObjectTagging",
    ("PUT", "tagging"): "PutObjectTagging",
    ("DELETE", "tagging"): "DeleteObjectTagging",
    ("GET", "acl"): "GetObjectAcl",
    ("PUT", "acl"): "PutObjectAcl",
    ("GET", "attributes"): "GetObjectAttributes",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploadId"): "ListParts",
    ("PUT", "renameObject"): "RenameObject",
}
_BUCKET = {
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "versions"): "ListObjectVersions",
    ("POST", "delete"): "DeleteObjects",
}
_PLAIN_OBJECT = {"GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_PLAIN_BUCKET = {
    "GET": "ListObjects",
    "HEAD": "HeadBucket",
    "PUT": "CreateBucket",
    "DELETE": "DeleteBucket",
}


def operation(method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return the operation's name; `headers` have lower-case names, `key` is empty for a bucket.

    What isn't known is named by its method and parameters, so that a budget test shows it.
    """
    for (verb, parameter), name in (_OBJECT if key else _BUCKET).items():
        if verb == method and parameter in query:
            return name
    if key and method == "PUT":
        return _put(query, headers)
    plain = _PLAIN_OBJECT if key else _PLAIN_BUCKET
    return plain.get(method, f"{method}?{'&'.join(sorted(query))}")


def _put(query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    copies = "x-amz-copy-source" in headers
    if "partNumber" in query:
        return "UploadPartCopy" if copies else "UploadPart"
    return "CopyObject" if copies else "PutObject"
