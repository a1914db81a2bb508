"""Responses of S3, in boto3's shapes, as our own values. Pure functions.

`fastpath` returns the same shapes as boto3, so both are read here.
"""

import time
from collections.abc import Mapping
from typing import Any

from fusefs.objects import Headers, ObjectInfo, Page
from fusefs.s3.etags import opaque
from fusefs.s3.httpdate import moment

# Headers that belong to the content and that a rewrite has to repeat, by boto3's names.
KEPT_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "StorageClass",
    "WebsiteRedirectLocation",
)


def info_of(key: str, answer: Mapping[str, Any]) -> ObjectInfo:
    """Return size, ETag, time and headers from the response to a HEAD or GET."""
    system = {name: answer[name] for name in KEPT_HEADERS if answer.get(name)}
    if answer.get("ExpiresString"):
        system["Expires"] = answer["ExpiresString"]
    if answer.get("TagCount"):
        system["TagCount"] = str(answer["TagCount"])
    return ObjectInfo(
        key,
        int(answer["ContentLength"]),
        opaque(answer["ETag"]),
        answer["LastModified"].timestamp(),
        # Header names have no case: some stores answer `Mode`, and a rewrite must not send both.
        Headers(
            {name.lower(): value for name, value in answer.get("Metadata", {}).items()}, system
        ),
    )


def page_of(answer: Mapping[str, Any]) -> Page:
    """Return one page of a LIST."""
    return Page(
        tuple(
            ObjectInfo(
                item["Key"],
                item["Size"],
                opaque(item["ETag"]),
                item["LastModified"].timestamp(),
                storage_class=item.get("StorageClass"),
            )
            for item in answer.get("Contents", ())
        ),
        tuple(item["Prefix"] for item in answer.get("CommonPrefixes", ())),
        answer.get("NextContinuationToken") if answer.get("IsTruncated") else None,
    )


def skew_of(date: str, otherwise: float) -> float:
    """Return how many seconds a store's clock is before ours, by the Date of an answer."""
    try:
        return moment(date).timestamp() - time.time()
    except ValueError:
        return otherwise


def text(value: str | bytes) -> str:
    """Return a header's value, whose bytes are characters of Latin 1."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def attempts_of(answer: Mapping[str, Any]) -> int:
    """Return how often boto3 had sent a request before."""
    return int(answer.get("ResponseMetadata", {}).get("RetryAttempts", 0))
