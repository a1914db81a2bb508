"""Who may ask: Signature Version 4 in the Authorization header, and the sessions of S3 Express.

Source: "Authenticating Requests: Using the Authorization Header" in the Amazon S3 API reference,
and CreateSession there. Every `x-amz-` header has to be signed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote
from uuid import uuid4

from tests.servers.s3 import REGION, Credentials
from tests.stores.request import Refused, Reply, Request, document, element

PATTERN = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
SESSION_SECONDS = 300
# Signed by the caller's own key: botocore's model of the API says so, too.
WITHOUT_SESSION = {"CreateSession", "CopyObject", "UploadPartCopy", "HeadBucket", "CreateBucket"}


@dataclass(frozen=True)
class Session:
    """The short-lived key of a directory bucket."""

    secret: str
    token: str
    until: float


class Gate:
    """Lets requests in; `express`: all but a few need a session."""

    def __init__(self, credentials: Credentials, express: bool) -> None:
        self._credentials = credentials
        self._express = express
        self._sessions: dict[str, Session] = {}
        self.region = REGION

    def admit(self, request: Request) -> None:
        """Raise Refused where the request isn't signed right."""
        match = PATTERN.fullmatch(request.headers.get("authorization", ""))
        if match is None:
            raise Refused(403, "AccessDenied", "not signed")
        access, day, region, service, names, signature = match.groups()
        if (region, service) != (self.region, "s3express" if self._express else "s3"):
            raise Refused(400, "AuthorizationHeaderMalformed", f"scope {region}/{service}")
        secret = self._secret(access, request)
        signed = names.split(";")
        unsigned = {n for n in request.headers if n.startswith("x-amz-")} - set(signed)
        if unsigned or "host" not in signed:
            raise Refused(403, "AccessDenied", f"headers not signed: {sorted(unsigned)}")
        key = f"AWS4{secret}".encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = _to_sign(request, signed, f"{day}/{region}/{service}/aws4_request")
        if not hmac.compare_digest(hmac.new(key, text, "sha256").hexdigest(), signature):
            raise Refused(403, "SignatureDoesNotMatch", "another signature was computed")

    def _secret(self, access: str, request: Request) -> str:
        if self._express and request.operation not in WITHOUT_SESSION:
            session = self._sessions.get(access)
            token = request.headers.get("x-amz-s3session-token")
            if session is None or session.token != token:
                raise Refused(403, "AccessDenied", "no such session")
            if session.until < time.time():
                raise Refused(403, "ExpiredToken", "the session has ended")
            return session.secret
        if access != self._credentials.access_key:
            raise Refused(403, "InvalidAccessKeyId", access)
        return self._credentials.secret_key

    def create_session(self) -> Reply:
        """CreateSession: a key for the other operations."""
        access = f"session-{uuid4().hex}"
        session = Session(uuid4().hex, uuid4().hex, time.time() + SESSION_SECONDS)
        self._sessions[access] = session
        until = datetime.fromtimestamp(session.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = (
            element("AccessKeyId", access)
            + element("SecretAccessKey", session.secret)
            + element("SessionToken", session.token)
            + element("Expiration", until)
        )
        return Reply(body=document("CreateSessionResult", f"<Credentials>{told}</Credentials>"))


def _to_sign(request: Request, signed: list[str], scope: str) -> bytes:
    said = request.headers.get("x-amz-content-sha256", "")
    if said != "UNSIGNED-PAYLOAD" and said != hashlib.sha256(request.body).hexdigest():
        raise Refused(400, "XAmzContentSHA256Mismatch", said)
    pairs = (part.partition("=") for part in request.raw_query.split("&") if part)
    query = sorted((_canonical(name), _canonical(value)) for name, _, value in pairs)
    canonical = "\n".join(
        [
            request.method,
            request.path,
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{_collapsed(request.headers.get(name, ''))}" for name in signed),
            "",
            ";".join(signed),
            said,
        ]
    ).encode("latin-1")
    stamp = request.headers.get("x-amz-date", "")
    digest = hashlib.sha256(canonical).hexdigest()
    return f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode()


def _collapsed(value: str) -> str:
    return " ".join(filter(None, value.split(" ")))


def _canonical(text: str) -> str:
    return quote(unquote(text), safe="-_.~")
