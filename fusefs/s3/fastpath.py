"""Send the frequent requests without boto3, in a fifth of its time.

boto3 needs some 2 ms of one core for a request, all under the interpreter's lock; a directory of
10 000 files is 10 000 requests. So the requests that come by the thousand (HEAD, GET, LIST, PUT,
COPY, DELETE, uploads and their parts) are signed and sent here, once each, with boto3's names and
shapes. Everything else is left to boto3: arguments not known here, every error but "not found" and
"the condition doesn't hold", retries, redirects, proxies, the sessions of directory buckets. The
bucket's URL and signing region come from `place`, or from boto3's own requests (`FastPath.learn`).

Standard library only. Any thread.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fusefs.s3 import documents
from fusefs.s3.connections import Connections, Line
from fusefs.s3.credentials import Keys
from fusefs.s3.httpanswer import END, FIRST, HEAD_MOST, Answer, BrokenAnswer
from fusefs.s3.httpdate import moment
from fusefs.s3.httprequest import META, METHODS, HttpRequest, request_of
from fusefs.s3.refusal import Refusal
from fusefs.s3.settings import USER_AGENT
from fusefs.s3.signing import Clock, Signer, encoded, payload_hash, query_string

# Response headers that describe an object, and boto3's names for them.
REPLY_FIELDS = {
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-range": "ContentRange",
    "content-type": "ContentType",
    "etag": "ETag",
    "expires": "ExpiresString",
    "x-amz-checksum-crc32": "ChecksumCRC32",
    "x-amz-checksum-sha1": "ChecksumSHA1",
    "x-amz-checksum-sha256": "ChecksumSHA256",
    "x-amz-checksum-type": "ChecksumType",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-storage-class": "StorageClass",
    "x-amz-tagging-count": "TagCount",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
}
# Parsers of the answers that are XML documents; all other answers are in headers.
READ = {
    "complete_multipart_upload": documents.completed,
    "copy_object": documents.copied,
    "create_multipart_upload": documents.begun,
    "list_objects_v2": documents.page,
    "upload_part_copy": documents.copied_part,
}
SERVICE = "s3"
CODES = {304: "304", 404: "404", 412: "PreconditionFailed", 416: "InvalidRange"}


# After so many failed connections in a row, boto3 gets all requests for `REST` seconds: it may
# know how to connect where this module doesn't.
FAILURES_MOST, REST = 10, 60.0


class Unclear(Exception):
    """No answer, or one that boto3 has to judge; the store may have carried out the request."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Settings of connections: timeouts in seconds, idle connections kept at most, CA bundle.

    `authorities`: path of the CA bundle, None for the system's.
    """

    connect_timeout: float
    read_timeout: float
    connections: int
    authorities: str | None = None


class FastPath:
    """The fast path to one bucket; `keys` returns the signing keys, None without credentials."""

    def __init__(self, bucket: str, wire: Wire, keys: Callable[[], Keys | None]) -> None:
        self._bucket = bucket
        self._wire = wire
        self._keys = keys
        self._route: _Route | None = None
        self._failures = 0  # failed connections in a row
        self._rests_until = 0.0

    @property
    def name(self) -> tuple[str, ...] | None:
        """Endpoint, base path, region and service of the requests; None without a route."""
        return None if self._route is None else self._route.name

    def learn(self, url: str, headers: Mapping[str, str]) -> None:
        """Take the URL and the signing region from a request that boto3 sends."""
        self._take(_Route.of(self._bucket, url, headers.get("Authorization", "")))

    def go(self, url: str, region: str) -> None:
        """Send requests to `url`, the bucket's URL, signed for `region`."""
        self._take(_Route.at(self._bucket, url, region))

    def _take(self, route: "_Route | None") -> None:
        known = self._route
        if known is None or route is None or known.name != route.name:
            self._route = route
            if route is not None:
                route.connect(self._wire)
            if known is not None:
                known.close()

    def send(
        self, operation: str, arguments: Mapping[str, Any], silence: float | None = None
    ) -> dict[str, Any] | None:
        """Send a request; return its answer in boto3's shape, or None where nothing was sent.

        `silence`: longest time without a byte, in seconds, if shorter than usual. Raises Refusal
        for the statuses 304, 404 (no such key), 412 and 416, and Unclear for any other failure.
        """
        route, keys = self._route, self._keys()
        if route is None or keys is None or operation not in METHODS:
            return None
        if time.monotonic() < self._rests_until:
            return None
        request = request_of(operation, arguments)
        if request is None:
            return None
        try:
            answer = route.ask(keys, METHODS[operation], request, silence)
        except OSError as error:
            self._failures += 1
            if self._failures >= FAILURES_MOST:
                self._rests_until = time.monotonic() + REST
            raise Unclear(f"{operation}: {error}") from error
        self._failures = 0
        try:
            return _understood(operation, answer)
        except (OSError, *documents.NONSENSE) as error:
            answer.close()
            raise Unclear(f"{operation}: {error}") from error

    def begin(self, operation: str, arguments: Mapping[str, Any]) -> "Begun | None":
        """Send a request without a body, and don't wait for its answer.

        None where nothing was sent: without a route or an idle connection.
        """
        route, keys = self._route, self._keys()
        if route is None or keys is None or time.monotonic() < self._rests_until:
            return None
        request = request_of(operation, arguments)
        # As long as the first attempt of any request, so that another has time left.
        patience = self._wire.read_timeout / 2
        return None if request is None else route.begin(keys, operation, request, patience)

    def close(self) -> None:
        """Close the connections."""
        if self._route is not None:
            self._route.close()


class Begun:
    """A request that was sent, and what came of its answer; nothing here waits.

    `sent` and `overdue` are monotonic seconds: the answer may take `patience` seconds.
    """

    def __init__(
        self, operation: str, line: Line, keep: Callable[[], None], patience: float
    ) -> None:
        self.sent = time.monotonic()
        self.overdue = self.sent + patience
        self._operation = operation
        self._line = line
        self._keep = keep
        self._data = b""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._line.fileno()

    def receive(self) -> bool:
        """Receive what is there; return whether the answer's head is. Raises OSError."""
        received = self._line.receive_now(FIRST)
        if received is not None:
            self._data += received
            if not received or len(self._data) > HEAD_MOST or self._data[9:10] == b"1":
                raise BrokenAnswer("the connection was closed, or the answer isn't an answer")
        return END in self._data

    def answer(self) -> dict[str, Any]:
        """Return the answer in boto3's shape. Raises Refusal and Unclear."""
        try:
            method = METHODS[self._operation]
            answer = Answer(self._line, method, self._keep, self._data)
            return _understood(self._operation, answer)
        except (OSError, *documents.NONSENSE) as error:
            self.close()
            raise Unclear(f"{self._operation}: {error}") from error

    def close(self) -> None:
        """Close the connection: its answer isn't wanted any more."""
        self._line.close()


class _Route:
    """The URL and signing region of one bucket, and the connections to it."""

    def __init__(self, url: str, host: str, base: str, signer: Signer) -> None:
        self.name = (url, base, signer.region, signer.service)
        self._url = urlsplit(url)
        self._host = host
        self._base = base
        self._signer = signer
        self._clock = Clock()
        self._tls = self._url.scheme == "https"
        self._bodyless = payload_hash(b"", self._tls)
        self._connections: Connections | None = None

    @classmethod
    def of(cls, bucket: str, url: str, authorization: str) -> "_Route | None":
        """Return the route of a request that boto3 sends; None where it isn't signed for S3."""
        scope = authorization.partition("Credential=")[2].partition(",")[0].split("/")[1:]
        if len(scope) != 4 or scope[2] != SERVICE:
            return None
        return cls.at(bucket, url, scope[1])

    @classmethod
    def at(cls, bucket: str, url: str, region: str) -> "_Route | None":
        """Return the route to a bucket; None where `url` isn't in the bucket, or isn't HTTP(S)."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            return None
        if parts.netloc.startswith(f"{bucket}."):
            base = ""
        elif f"{parts.path}/".startswith(f"/{bucket}/"):
            base = f"/{bucket}"
        else:
            return None
        origin = f"{parts.scheme}://{parts.netloc}"
        return cls(origin, parts.netloc, base, Signer(region, SERVICE))

    def connect(self, wire: Wire) -> None:
        """Create the pool of connections; none is opened yet."""
        tls = None
        if self._url.scheme == "https":
            tls = ssl.create_default_context(cafile=wire.authorities)
        self._connections = Connections(
            self._url.hostname or "",
            self._url.port or (443 if tls else 80),
            tls,
            wire.connect_timeout,
            wire.read_timeout,
            wire.connections,
        )

    def ask(
        self, keys: Keys, method: str, request: HttpRequest, silence: float | None = None
    ) -> Answer:
        """Sign a request, send it and return its answer. Raises OSError."""
        head = self._head(keys, method, request)
        assert self._connections is not None  # noqa: S101 - `connect` comes first
        return self._connections.send(method, head, request.body, silence)

    def begin(
        self, keys: Keys, operation: str, request: HttpRequest, patience: float
    ) -> Begun | None:
        """Sign a request and send it on an idle connection; None without one."""
        connections = self._connections
        assert connections is not None  # noqa: S101 - `connect` comes first
        line = connections.begin(self._head(keys, METHODS[operation], request))
        if line is None:
            return None
        return Begun(operation, line, partial(connections.give_back, line), patience)

    def _head(self, keys: Keys, method: str, request: HttpRequest) -> bytes:
        """Return a signed request as it is sent, but for its body."""
        path = encoded(f"{self._base}/{request.key}")
        query = query_string(request.query) if request.query else ""
        body = request.body
        headers = {
            "host": self._host,
            "user-agent": USER_AGENT,
            "x-amz-content-sha256": payload_hash(body, self._tls) if body else self._bodyless,
            **request.headers,
        }
        self._signer.sign(keys, method, path, query, headers, self._clock.stamp())
        lines = [f"{method} {path}?{query} HTTP/1.1" if query else f"{method} {path} HTTP/1.1"]
        for name, text in headers.items():
            lines.append(f"{name}: {text}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            self._connections.close()


def _understood(operation: str, answer: Answer) -> dict[str, Any]:
    """Return an answer in boto3's shape; raise ValueError for one that is left to boto3."""
    if answer.status in (200, 206) and operation == "get_object":
        return _object(answer) | {"Body": _Body(answer)}
    body = answer.read()
    if answer.status in (200, 204):
        if operation in READ:
            return READ[operation](body) | _meta(answer)
        if operation == "head_object":
            return _object(answer)
        return _reply_fields(answer)
    missing = operation == "head_object" or b"<Code>NoSuchKey</Code>" in body
    if answer.status in CODES and (answer.status != 404 or missing):
        raise Refusal(operation, answer.status, CODES[answer.status], headers=answer.headers)
    raise ValueError(f"status {answer.status}")


class _Body:
    """A body with the attribute that `client.drain` reads of boto3's."""

    def __init__(self, answer: Answer) -> None:
        self._raw_stream = answer


def _meta(answer: Answer) -> dict[str, Any]:
    meta = {"HTTPStatusCode": answer.status, "HTTPHeaders": answer.headers, "RetryAttempts": 0}
    return {"ResponseMetadata": meta}


def _reply_fields(answer: Answer) -> dict[str, Any]:
    headers, fields = answer.headers, _meta(answer)
    for name in headers.keys() & REPLY_FIELDS.keys():
        fields[REPLY_FIELDS[name]] = headers[name]
    return fields


def _object(answer: Answer) -> dict[str, Any]:
    headers = answer.headers
    fields = _reply_fields(answer)
    fields["ContentLength"] = int(headers["content-length"])
    fields["ETag"] = headers["etag"]
    fields["LastModified"] = moment(headers["last-modified"])
    fields["Metadata"] = {
        name[len(META) :]: value for name, value in headers.items() if name.startswith(META)
    }
    return fields
