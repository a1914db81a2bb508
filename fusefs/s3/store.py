"""The S3 requests of a mount: our objects and conditions in and out. One instance, one bucket.

It knows requests, not files: no POSIX meaning, no caching, no algorithms of many requests (those
are in `commit` and `objectmoves`). Every method is one S3 request (plus `client`'s retries) and may
be called from any thread. Conditions: `"*"` means "only if there is no such object"
(If-None-Match), an ETag means "only if it is still this one" (If-Match), None means always.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from fusefs import errors
from fusefs.counters import Count, Counters
from fusefs.objects import Headers, ObjectInfo, Page
from fusefs.s3 import checksums
from fusefs.s3.client import Client, drain, rewind, status_of
from fusefs.s3.partbody import PartBody
from fusefs.s3.retry import Broken, Tries
from fusefs.s3.settings import StoreSettings

log = logging.getLogger(__name__)

ABSENT = "*"
# Headers that belong to the content and that a rewrite has to repeat, by boto3's names.
KEPT = (
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


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part of a multipart upload; `crc32` as S3 writes it, base64 of big-endian."""

    number: int
    etag: str
    crc32: str | None = None


class Store:
    """One bucket."""

    def __init__(self, settings: StoreSettings, counters: Counters | None = None) -> None:
        self.settings = settings
        self.counters = counters or Counters()
        self.bucket = settings.bucket
        self.conditional = True
        self.conditional_complete = True
        # Newer than the others (AWS: 2025) and not to be probed without storing something: asked
        # for until a store refuses the header; who ignores it does as before.
        self.conditional_delete = True
        self.conditional_copy = True
        self.client = Client(settings, self.counters)
        self.changes = self.client.changes
        self._checksums = True

    # -- reading ---------------------------------------------------------------------------------

    def head(self, key: str) -> ObjectInfo:
        """HEAD: size, ETag, time and headers of `key`."""
        return _info(key, self.client.call("head_object", key))

    def list_page(
        self, prefix: str, delimiter: str = "/", token: str | None = None, limit: int = 1000
    ) -> Page:
        """LIST one page of keys under `prefix`; `delimiter=""` lists all levels."""
        arguments: dict[str, Any] = {"Prefix": prefix, "MaxKeys": limit}
        if delimiter:
            arguments["Delimiter"] = delimiter
        if token is not None:
            arguments["ContinuationToken"] = token
        answer = self.client.call("list_objects_v2", None, **arguments)
        return Page(
            tuple(
                ObjectInfo(
                    item["Key"],
                    item["Size"],
                    item["ETag"].strip('"'),
                    item["LastModified"].timestamp(),
                    storage_class=item.get("StorageClass"),
                )
                for item in answer.get("Contents", ())
            ),
            tuple(item["Prefix"] for item in answer.get("CommonPrefixes", ())),
            answer.get("NextContinuationToken") if answer.get("IsTruncated") else None,
        )

    def get_start(
        self, key: str, length: int, unless: str | None = None, whole: bool = False
    ) -> tuple[ObjectInfo, bytes] | None:
        """GET the first `length` bytes, or all; None when the object still has ETag `unless`.

        With `whole` the object is expected not to be longer: then the store sends its checksum,
        which it has for whole objects only, and a damaged answer is asked for again.
        """
        arguments: dict[str, Any] = {"Range": f"bytes=0-{length - 1}"}
        if whole:
            arguments = {"ChecksumMode": "ENABLED"} if self._checksums else {}
        if unless is not None:
            arguments["IfNoneMatch"] = f'"{unless}"'
        tries = Tries(self.settings.retries, self.client.patience())
        while True:
            try:
                return self._start(key, length, arguments)
            except Broken as broken:
                tries.wait_after(broken)

    def _start(
        self, key: str, length: int, arguments: Mapping[str, Any]
    ) -> tuple[ObjectInfo, bytes] | None:
        try:
            answer = self.client.call("get_object", key, **arguments)
        except errors.FsError as error:
            if status_of(error) == 304:
                return None
            if status_of(error) == 416:  # an empty object has no first byte
                return self.head(key), b""
            raise
        info = _info(key, answer)
        total = answer.get("ContentRange", "").rpartition("/")[2]
        size = int(total) if total.isdigit() else info.size
        body = bytearray(min(info.size, length))
        self._drain(answer, memoryview(body), key, _nobody)
        if size == len(body) and not checksums.agree(answer, body):
            raise Broken(f"GET s3://{self.bucket}/{key}: the content is not its checksum's", 0)
        return ObjectInfo(key, size, info.etag, info.modified, info.headers), bytes(body)

    def get_into(
        self,
        key: str,
        etag: str,
        offset: int,
        view: memoryview,
        arrived: Callable[[int], None],
    ) -> None:
        """GET `len(view)` bytes at `offset` of exactly this version into `view`.

        `arrived` is told the bytes so far. A connection that breaks in mid-body is asked again for
        the rest. Raises Stale when the object was replaced, Unavailable when retries are used up.
        """
        have = 0
        tries = Tries(self.settings.retries, self.client.patience())
        while have < len(view):
            first = offset + have
            try:
                answer = self.client.call(
                    "get_object",
                    key,
                    Range=f"bytes={first}-{offset + len(view) - 1}",
                    IfMatch=f'"{etag}"',
                )
                if answer["ETag"].strip('"') != etag:
                    raise errors.Stale(f"GET s3://{self.bucket}/{key}: replaced while being read")
                self._drain(answer, view[have:], key, partial(_from, arrived, have))
            except Broken as broken:
                have += broken.received
                tries.wait_after(broken)
            else:
                return

    def _drain(
        self,
        answer: Mapping[str, Any],
        view: memoryview,
        key: str,
        arrived: Callable[[int], None],
    ) -> None:
        received = 0
        try:
            drain(answer, view, f"GET s3://{self.bucket}/{key}", arrived)
            received = len(view)
        except Broken as broken:
            received = broken.received
            raise
        finally:
            self.counters.add(Count.RECEIVED, received)

    def tags(self, key: str) -> str:
        """Return the tags of `key` in the form of the Tagging header (URL query), or ''."""
        answer = self.client.call("get_object_tagging", key)
        return urlencode([(tag["Key"], tag["Value"]) for tag in answer["TagSet"]])

    # -- writing ---------------------------------------------------------------------------------

    def _new(self, headers: Headers) -> dict[str, Any]:
        """Arguments of a new object: its headers, and what the mount's settings ask for."""
        arguments: dict[str, Any] = {"Metadata": dict(headers.metadata)}
        settings = self.settings
        wanted = {
            "StorageClass": settings.storage_class,
            "ServerSideEncryption": settings.sse,
            "SSEKMSKeyId": settings.sse_kms_key,
            "ACL": settings.acl,
        }
        if "ServerSideEncryption" in headers.system:
            del wanted["SSEKMSKeyId"]  # a key of ours doesn't go with an algorithm of its own
        arguments |= {name: value for name, value in wanted.items() if value}
        arguments |= headers.system
        return arguments

    def _condition(self, condition: str | None, able: bool) -> dict[str, str]:
        if condition is None or not able:
            return {}
        if condition == ABSENT:
            return {"IfNoneMatch": "*"}
        return {"IfMatch": f'"{condition}"'}

    def put(
        self, key: str, body: bytes | memoryview, headers: Headers, condition: str | None
    ) -> str:
        """PUT a whole object; return its ETag. Raises Stale when the condition doesn't hold."""
        data = bytes(body) if isinstance(body, memoryview) else body
        self.counters.add(Count.SENT, len(data))
        answer = self._checked(
            "put_object",
            key,
            data,
            **self._condition(condition, self.conditional),
            **self._new(headers),
        )
        return str(answer["ETag"]).strip('"')

    def copy(
        self,
        source: str,
        etag: str | None,
        key: str,
        headers: Headers | None,
        condition: str | None = None,
        placed: Mapping[str, str] | None = None,
    ) -> tuple[str, float]:
        """Copy server side (at most 5 GiB); `headers` replaces all headers, None keeps them.

        Storage class and encryption aren't kept by S3: `placed` says those of the source. Returns
        ETag and LastModified of the copy. `etag` pins the source.
        """
        arguments: dict[str, Any] = {"CopySource": {"Bucket": self.bucket, "Key": source}}
        if etag is not None:
            arguments["CopySourceIfMatch"] = f'"{etag}"'
        if headers is not None:
            arguments |= {"MetadataDirective": "REPLACE", **self._new(headers)}
        else:
            if self.settings.storage_class:
                arguments["StorageClass"] = self.settings.storage_class
            arguments |= placed or {}
        # A copy onto itself is already pinned by its source.
        if source != key:
            arguments |= self._condition(condition, self.conditional_copy)
        answer = self.client.call("copy_object", key, **arguments)["CopyObjectResult"]
        return answer["ETag"].strip('"'), answer["LastModified"].timestamp()

    def delete(self, key: str, etag: str | None = None) -> None:
        """DELETE `key`, with `etag` only that version; deleting what isn't there succeeds."""
        self.client.call("delete_object", key, **self._condition(etag, self.conditional_delete))

    # -- multipart uploads -----------------------------------------------------------------------

    def create_upload(self, key: str, headers: Headers) -> str:
        """Start a multipart upload; return its id."""
        arguments = self._new(headers)
        if self._checksums:
            try:
                answer = self.client.call(
                    "create_multipart_upload", key, ChecksumAlgorithm="CRC32", **arguments
                )
                return str(answer["UploadId"])
            except errors.Unsupported as error:
                self._no_checksums(error)
        return str(self.client.call("create_multipart_upload", key, **arguments)["UploadId"])

    def upload_part(
        self, key: str, upload: str, number: int, body: bytes | bytearray | PartBody
    ) -> Part:
        """Upload part `number` (from 1)."""
        self.counters.add(Count.SENT, len(body))
        answer = self._checked("upload_part", key, body, UploadId=upload, PartNumber=number)
        return Part(number, answer["ETag"].strip('"'), answer.get("ChecksumCRC32"))

    def _checked(
        self, operation: str, key: str, body: bytes | bytearray | PartBody, **arguments: Any
    ) -> Any:
        """Send a body with its CRC32, which the store compares; without to one that can't."""
        if self._checksums:
            try:
                checksum = checksums.crc32_of(body)
                answer = self.client.call(
                    operation, key, Body=body, ChecksumCRC32=checksum, **arguments
                )
            except errors.Unsupported as error:
                self._no_checksums(error)
                rewind(body)
            else:
                if answer.get("ChecksumCRC32", checksum) != checksum:
                    raise errors.Unavailable(
                        f"{operation} s3://{self.bucket}/{key}: the store has other bytes than sent"
                    )
                return answer
        return self.client.call(operation, key, Body=body, **arguments)

    def _no_checksums(self, error: errors.FsError) -> None:
        self._checksums = False
        log.warning(
            "this store refuses checksums: what is damaged on its way to it goes unnoticed",
            extra={"bucket": self.bucket, "error": str(error)},
        )

    def copy_part(
        self, key: str, upload: str, number: int, source: str, etag: str, start: int, end: int
    ) -> Part:
        """Make part `number` of bytes `start` to `end` (exclusive) of `source` at `etag`."""
        answer = self.client.call(
            "upload_part_copy",
            key,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": self.bucket, "Key": source},
            CopySourceRange=f"bytes={start}-{end - 1}",
            CopySourceIfMatch=f'"{etag}"',
        )["CopyPartResult"]
        return Part(number, answer["ETag"].strip('"'), answer.get("ChecksumCRC32"))

    def complete_upload(
        self, key: str, upload: str, parts: Sequence[Part], condition: str | None
    ) -> str:
        """Finish a multipart upload; return the object's ETag."""
        listed = [
            {"PartNumber": part.number, "ETag": f'"{part.etag}"'}
            | ({"ChecksumCRC32": part.crc32} if part.crc32 else {})
            for part in parts
        ]
        answer = self.client.call(
            "complete_multipart_upload",
            key,
            UploadId=upload,
            MultipartUpload={"Parts": listed},
            **self._condition(condition, self.conditional_complete),
        )
        return str(answer["ETag"]).strip('"')

    def abort_upload(self, key: str, upload: str) -> None:
        """Throw away an unfinished multipart upload and its parts."""
        self.client.call("abort_multipart_upload", key, UploadId=upload)

    # -- the store itself ------------------------------------------------------------------------

    def server_time(self) -> float:
        """Return the store's clock, in seconds."""
        return self.client.server_time()

    def unreachable_for(self) -> float:
        """Return the seconds since the store first failed to answer, 0 while it answers."""
        return self.client.unreachable_for()

    def silent_for(self) -> float:
        """Return the seconds since the store last answered anything."""
        return self.client.silent_for()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def _from(arrived: Callable[[int], None], base: int, count: int) -> None:
    arrived(base + count)


def _nobody(received: int) -> None:
    """Nobody waits for a part of it."""


def _info(key: str, answer: Mapping[str, Any]) -> ObjectInfo:
    system = {name: answer[name] for name in KEPT if answer.get(name)}
    if answer.get("ExpiresString"):
        system["Expires"] = answer["ExpiresString"]
    if answer.get("TagCount"):
        system["TagCount"] = str(answer["TagCount"])
    return ObjectInfo(
        key,
        int(answer["ContentLength"]),
        answer["ETag"].strip('"'),
        answer["LastModified"].timestamp(),
        # Header names have no case: some stores answer `Mode`, and a rewrite must not send both.
        Headers(
            {name.lower(): value for name, value in answer.get("Metadata", {}).items()}, system
        ),
    )
