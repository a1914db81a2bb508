"""The S3 seam: boto3 in, our objects and our errors out. One instance serves one bucket.

It knows requests, not files: no POSIX meaning, no caching, no multi-request algorithms (those are
in `transfer`). Every method is one S3 request (plus retries) and may be called from any thread;
boto3 clients are thread-safe. Conditions: `"*"` means "only if there is no such object"
(If-None-Match), an ETag means "only if it is still this one" (If-Match), None means always.
"""

import base64
import logging
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from urllib3.exceptions import HTTPError

from . import errors
from .counters import Count, Counters
from .credentials import CredentialsDirectory
from .faults import EXPIRED, REFUSED, error_for
from .objects import Headers, ObjectInfo, Page
from .partbody import PartBody

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
# Answers to a condition or a range, not failures: 304 Not Modified, 416 Range Not Satisfiable.
EXPECTED = frozenset({304, 416})
# How long a store may refuse expired credentials before we give up: kubelets and token webhooks
# renew files within about a minute.
RENEWAL_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the bucket is and how to talk to it; times in seconds."""

    bucket: str
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    credentials_dir: Path | None = None
    path_style: bool = True  # for own endpoints; AWS gets virtual-hosted addresses
    anonymous: bool = False
    requester_pays: bool = False
    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key: str | None = None
    acl: str | None = None
    retries: int = 5
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    connections: int = 64


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part of a multipart upload; `crc32` as S3 writes it, base64 of big-endian."""

    number: int
    etag: str
    crc32: str | None = None


class _DirectoryCredentials(Credentials):
    """boto3's view of a credentials directory: it asks for frozen credentials at each request."""

    def __init__(self, directory: CredentialsDirectory) -> None:
        keys = directory.current()
        super().__init__(keys.access, keys.secret, keys.token, method="s3mount-directory")
        self.directory = directory

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        keys = self.directory.current()
        return ReadOnlyCredentials(keys.access, keys.secret, keys.token)


def crc32_base64(data: bytes | bytearray | memoryview) -> str:
    """Return S3's form of the CRC32 of `data`."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def _crc32_of(body: bytes | bytearray | PartBody) -> str:
    if not isinstance(body, PartBody):
        return crc32_base64(body)
    checksum = 0
    while block := body.read(1 << 20):
        checksum = zlib.crc32(block, checksum)
    body.seek(0)
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()


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
        self._credentials: _DirectoryCredentials | None = None
        self._client = self._connect(settings)
        self._common: dict[str, Any] = {"Bucket": settings.bucket}
        if settings.requester_pays:
            self._common["RequestPayer"] = "requester"
        self._checksums = True
        self._answered = time.monotonic()
        self._away_since: float | None = None
        self._renewed_at = 0.0  # when credentials changed last
        self._skew = 0.0
        self._lock = threading.Lock()

    def _connect(self, settings: StoreSettings) -> Any:
        session = botocore.session.Session(profile=settings.profile)
        own_endpoint = settings.endpoint_url is not None
        config = Config(
            signature_version=UNSIGNED if settings.anonymous else "s3v4",
            retries={"mode": "standard", "total_max_attempts": max(1, settings.retries)},
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            max_pool_connections=settings.connections,
            tcp_keepalive=True,
            # Checksums are sent by us, per request: see `put` and `upload_part`.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if own_endpoint and settings.path_style else "auto"},
            user_agent_extra="s3mount",
        )
        try:
            if settings.credentials_dir is not None:
                self._credentials = _DirectoryCredentials(
                    CredentialsDirectory(settings.credentials_dir)
                )
                session._credentials = self._credentials  # type: ignore[attr-defined]  # noqa: SLF001 - botocore has no setter that takes an object
            return boto3.Session(botocore_session=session).client(
                "s3",
                endpoint_url=settings.endpoint_url,
                region_name=settings.region or session.get_config_variable("region") or "us-east-1",
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise errors.SetupError(f"bucket {settings.bucket}: {error}") from error

    # -- one request -----------------------------------------------------------------------------

    def _call(self, operation: str, key: str | None, **arguments: Any) -> Any:
        """Run a boto3 operation; raise our error for any of theirs."""
        if key is not None:
            arguments["Key"] = key
        deadline = time.monotonic() + RENEWAL_SECONDS
        pause = 0.2
        while True:
            began = time.monotonic()
            try:
                answer = getattr(self._client, operation)(**self._common, **arguments)
            except ClientError as error:
                told = self._told(operation, key, error)
                if not self._renewed(error, began, deadline):
                    raise told from error
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
                self._rewind(arguments)
            except NoCredentialsError as error:
                self.counters.request(operation, errors.AccessDenied.__name__)
                raise errors.AccessDenied(
                    f"bucket {self.bucket}: no AWS credentials found; give a Secret, a role or "
                    "the usual AWS environment variables"
                ) from error
            except (BotoCoreError, HTTPError, OSError) as error:
                self.counters.request(operation, errors.Unavailable.__name__)
                self._away_since = self._away_since or time.monotonic()
                raise errors.Unavailable(
                    f"{operation} s3://{self.bucket}/{key or ''}: {error}"
                ) from error
            else:
                self._note(operation, answer)
                return answer

    @staticmethod
    def _rewind(arguments: Mapping[str, Any]) -> None:
        body = arguments.get("Body")
        if body is not None and hasattr(body, "seek"):
            body.seek(0)

    def _told(self, operation: str, key: str | None, error: ClientError) -> errors.FsError:
        said = error.response.get("Error", {})
        meta = error.response.get("ResponseMetadata", {})
        self._answered = time.monotonic()
        self._away_since = None
        told = error_for(
            str(said.get("Code", "")),
            int(meta.get("HTTPStatusCode", 0)),
            f"{operation} s3://{self.bucket}/{key or ''}",
            str(said.get("Message", "")),
        )
        outcome = "ok" if _status(error) in EXPECTED else type(told).__name__
        self.counters.request(operation, outcome, int(meta.get("RetryAttempts", 0)))
        return told

    def _renewed(self, error: ClientError, began: float, deadline: float) -> bool:
        """Say whether asking again may help because credentials ran out or were replaced."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code not in EXPIRED and code not in REFUSED:
            return False
        if self._refresh_credentials():
            self._renewed_at = time.monotonic()
        # Another request may have brought the new ones in while this was under way with the old.
        return self._renewed_at > began or (code in EXPIRED and time.monotonic() < deadline)

    def _refresh_credentials(self) -> bool:
        credentials = self._client._request_signer._credentials  # noqa: SLF001 - no public way
        if credentials is None:
            return False
        if self._credentials is not None:
            self._credentials.directory.current(fresh=True)
            self._renewed_at = max(self._renewed_at, self._credentials.directory.changed_at)
            return False
        before = credentials.get_frozen_credentials()
        refresh = getattr(credentials, "_protected_refresh", None)
        if refresh is None:
            return False
        refresh(is_mandatory=False)
        return bool(credentials.get_frozen_credentials() != before)

    def _note(self, operation: str, answer: Mapping[str, Any]) -> None:
        meta = answer["ResponseMetadata"]
        self.counters.request(operation, "ok", int(meta.get("RetryAttempts", 0)))
        self._answered = time.monotonic()
        self._away_since = None
        date = meta["HTTPHeaders"].get("date")
        if date:
            try:
                stamp = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S %Z")  # noqa: DTZ007 - GMT
            except ValueError:
                return
            epoch = (stamp - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001 - both naive GMT
            self._skew = epoch - time.time()

    def server_time(self) -> float:
        """Return the store's clock, in seconds, from the Date of its last answer."""
        return time.time() + self._skew

    def unreachable_for(self) -> float:
        """Return the seconds since the store first failed to answer, 0 while it answers."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def silent_for(self) -> float:
        """Return the seconds since the store last answered anything."""
        return time.monotonic() - self._answered

    # -- reading ---------------------------------------------------------------------------------

    def head(self, key: str) -> ObjectInfo:
        """HEAD: size, ETag, time and headers of `key`."""
        return _info(key, self._call("head_object", key))

    def list_page(
        self, prefix: str, delimiter: str = "/", token: str | None = None, limit: int = 1000
    ) -> Page:
        """LIST one page of keys under `prefix`; `delimiter=""` lists all levels."""
        arguments: dict[str, Any] = {"Prefix": prefix, "MaxKeys": limit}
        if delimiter:
            arguments["Delimiter"] = delimiter
        if token is not None:
            arguments["ContinuationToken"] = token
        answer = self._call("list_objects_v2", None, **arguments)
        return Page(
            tuple(
                ObjectInfo(
                    item["Key"],
                    item["Size"],
                    item["ETag"].strip('"'),
                    item["LastModified"].timestamp(),
                )
                for item in answer.get("Contents", ())
            ),
            tuple(item["Prefix"] for item in answer.get("CommonPrefixes", ())),
            answer.get("NextContinuationToken") if answer.get("IsTruncated") else None,
        )

    def get_start(
        self, key: str, length: int, unless: str | None = None
    ) -> tuple[ObjectInfo, bytes] | None:
        """GET the first `length` bytes, or all; None when the object still has ETag `unless`."""
        arguments: dict[str, Any] = {"Range": f"bytes=0-{length - 1}"}
        if unless is not None:
            arguments["IfNoneMatch"] = f'"{unless}"'
        attempt = 0
        while True:
            try:
                return self._start(key, arguments)
            except _Broken as broken:
                attempt += 1
                self._wait_after(broken, attempt)

    def _start(self, key: str, arguments: Mapping[str, Any]) -> tuple[ObjectInfo, bytes] | None:
        try:
            answer = self._call("get_object", key, **arguments)
        except errors.FsError as error:
            if _status(error.__cause__) == 304:
                return None
            if _status(error.__cause__) == 416:  # an empty object has no first byte
                return self.head(key), b""
            raise
        body = bytearray(int(answer["ContentLength"]))
        self._drain(answer, memoryview(body), f"GET s3://{self.bucket}/{key}", lambda _: None)
        info = _info(key, answer)
        total = answer.get("ContentRange", "").rpartition("/")[2]
        size = int(total) if total.isdigit() else len(body)
        if size == len(body):
            _verify(answer, body, key)
        return ObjectInfo(key, size, info.etag, info.modified, info.headers), bytes(body)

    def _wait_after(self, broken: "_Broken", attempt: int) -> None:
        """Pause before a body that broke is asked for again, or give up."""
        if attempt >= max(2, self.settings.retries):
            raise errors.Unavailable(str(broken)) from broken
        time.sleep(min(0.1 * 2**attempt, 5.0))

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
        attempt = 0
        while have < len(view):
            first = offset + have
            try:
                answer = self._call(
                    "get_object",
                    key,
                    Range=f"bytes={first}-{offset + len(view) - 1}",
                    IfMatch=f'"{etag}"',
                )
                if answer["ETag"].strip('"') != etag:
                    raise errors.Stale(f"GET s3://{self.bucket}/{key}: replaced while being read")
                self._drain(
                    answer,
                    view[have:],
                    f"GET s3://{self.bucket}/{key}",
                    partial(_from, arrived, have),
                )
            except _Broken as broken:
                have += broken.received
                attempt += 1
                self._wait_after(broken, attempt)
            else:
                return

    def _drain(
        self,
        answer: Mapping[str, Any],
        view: memoryview,
        what: str,
        arrived: Callable[[int], None],
    ) -> None:
        """Read a body into `view` in as few copies as Python allows; the connection goes back."""
        # StreamingBody copies each byte twice more; the http.client response below urllib3's fills
        # a buffer of ours directly and still decodes chunks and checks the length.
        raw = answer["Body"]._raw_stream  # noqa: SLF001 - the public way costs two copies
        source = getattr(raw, "_fp", raw)
        have = 0
        try:
            while have < len(view):
                count = source.readinto(view[have : have + (1 << 20)])
                if not count:
                    break
                have += count
                arrived(have)
        except (HTTPError, OSError, ValueError) as error:
            raw.close()
            raise _Broken(f"{what}: the connection broke: {error}", have) from error
        finally:
            self.counters.add(Count.RECEIVED, have)
        if have < len(view):
            raw.close()
            raise _Broken(f"{what}: the body ended after {have} of {len(view)} bytes", have)
        raw.release_conn()

    def tags(self, key: str) -> str:
        """Return the tags of `key` in the form of the Tagging header (URL query), or ''."""
        answer = self._call("get_object_tagging", key)
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
    ) -> tuple[str, float]:
        """Copy server side (at most 5 GiB); `headers` replaces all headers, None keeps them.

        Returns ETag and LastModified of the copy. `etag` pins the source.
        """
        arguments: dict[str, Any] = {"CopySource": {"Bucket": self.bucket, "Key": source}}
        if etag is not None:
            arguments["CopySourceIfMatch"] = f'"{etag}"'
        if headers is not None:
            arguments |= {"MetadataDirective": "REPLACE", **self._new(headers)}
        elif self.settings.storage_class:
            arguments["StorageClass"] = self.settings.storage_class
        # A copy onto itself is already pinned by its source.
        if source != key:
            arguments |= self._condition(condition, self.conditional_copy)
        answer = self._call("copy_object", key, **arguments)["CopyObjectResult"]
        return answer["ETag"].strip('"'), answer["LastModified"].timestamp()

    def delete(self, key: str, etag: str | None = None) -> None:
        """DELETE `key`, with `etag` only that version; deleting what isn't there succeeds."""
        self._call("delete_object", key, **self._condition(etag, self.conditional_delete))

    # -- multipart uploads -----------------------------------------------------------------------

    def create_upload(self, key: str, headers: Headers) -> str:
        """Start a multipart upload; return its id."""
        arguments = self._new(headers)
        if self._checksums:
            try:
                answer = self._call(
                    "create_multipart_upload", key, ChecksumAlgorithm="CRC32", **arguments
                )
                return str(answer["UploadId"])
            except errors.Unsupported as error:
                self._no_checksums(error)
        return str(self._call("create_multipart_upload", key, **arguments)["UploadId"])

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
                checksum = _crc32_of(body)
                return self._call(operation, key, Body=body, ChecksumCRC32=checksum, **arguments)
            except errors.Unsupported as error:
                self._no_checksums(error)
                self._rewind({"Body": body})
        return self._call(operation, key, Body=body, **arguments)

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
        answer = self._call(
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
        answer = self._call(
            "complete_multipart_upload",
            key,
            UploadId=upload,
            MultipartUpload={"Parts": listed},
            **self._condition(condition, self.conditional_complete),
        )
        return str(answer["ETag"]).strip('"')

    def abort_upload(self, key: str, upload: str) -> None:
        """Throw away an unfinished multipart upload and its parts."""
        self._call("abort_multipart_upload", key, UploadId=upload)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _from(arrived: Callable[[int], None], base: int, count: int) -> None:
    arrived(base + count)


class _Broken(Exception):
    """A body that ended early, after `received` bytes."""

    def __init__(self, message: str, received: int) -> None:
        super().__init__(message)
        self.received = received


def _status(error: BaseException | None) -> int:
    """Return the HTTP status of boto3's error, 0 for anything else."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


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


def _verify(answer: Mapping[str, Any], body: bytes | bytearray, key: str) -> None:
    """Compare a whole body with the checksum that came with it, where one did."""
    told = answer.get("ChecksumCRC32")
    if told and answer.get("ChecksumType") != "COMPOSITE" and told != crc32_base64(body):
        raise errors.Unavailable(f"GET {key}: the content does not match its checksum")
