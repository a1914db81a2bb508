"""Signatures of requests, AWS Signature Version 4 with headers, for S3.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" in the
Amazon S3 API reference. Any thread: the cached key is replaced as a whole.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import quote

from fusefs.s3.credentials import Keys
from fusefs.s3.partbody import Body, pieces_of

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"  # for bodies that TLS protects
UNRESERVED = "-_.~"
PLAIN = re.compile(r"[A-Za-z0-9/._~-]*")  # what stands for itself in a URL
EMPTY = hashlib.sha256().hexdigest()


def encoded(path: str) -> str:
    """Return a key as it stands in a URL and in its signature: encoded once, slashes kept."""
    return path if PLAIN.fullmatch(path) else quote(path, safe="/" + UNRESERVED)


def query_string(query: Mapping[str, str]) -> str:
    """Return a query in its canonical form, which is also sent."""
    pairs = sorted((quote(k, safe=UNRESERVED), quote(v, safe=UNRESERVED)) for k, v in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def payload_hash(body: Body, tls: bool) -> str:
    """Return what is said of a body: its SHA-256, or nothing where TLS protects it."""
    if tls:
        return UNSIGNED
    if not body:
        return EMPTY
    if isinstance(body, (bytes, bytearray)):
        return hashlib.sha256(body).hexdigest()
    digest = hashlib.sha256()
    for piece in pieces_of(body):
        digest.update(piece)
    return digest.hexdigest()


def _collapsed(value: str) -> str:
    # Spaces alone: other white space of str is a byte of somebody's UTF-8 here.
    return " ".join(filter(None, value.split(" ")))


class Clock:
    """The time as signatures have it, written once a second; any thread."""

    def __init__(self) -> None:
        self._known = (0, "")

    def stamp(self) -> str:
        """Return the time in UTC, like 20130524T000000Z."""
        now = int(time.time())
        known = self._known
        if known[0] != now:
            self._known = known = (now, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)))
        return known[1]


class Signer:
    """Signs for one region and service."""

    def __init__(self, region: str, service: str) -> None:
        self.region = region
        self.service = service
        self._key: tuple[str, str, bytes] = ("", "", b"")

    def sign(
        self,
        keys: Keys,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        stamp: str,
    ) -> None:
        """Add date, token and signature to `headers`.

        Their names are in lower case and they have `host` and `x-amz-content-sha256`. `path` and
        `query` are encoded; `stamp` is the time as `Clock` has it.
        """
        headers["x-amz-date"] = stamp
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        # One loop and no calls: this runs for each header of each request.
        signed, lines = [], [method, path, query]
        for name in sorted(headers):
            if name[:6] == "x-amz-" or name == "host":
                text = headers[name]
                signed.append(name)
                lines.append(f"{name}:{_collapsed(text) if ' ' in text else text}")
        names = ";".join(signed)
        lines += ("", names, headers["x-amz-content-sha256"])
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        # Header values are text as http.client takes it: a character for each byte.
        digest = hashlib.sha256("\n".join(lines).encode("latin-1")).hexdigest()
        key = self._key
        if key[0] != keys.secret or key[1] != stamp[:8]:
            key = self._renewed(keys.secret, stamp[:8])
        text = f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        signature = hmac.digest(key[2], text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"{ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )

    def _renewed(self, secret: str, day: str) -> tuple[str, str, bytes]:
        """Return the signing key of a day, with what it was made of."""
        key = f"AWS4{secret}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = made = (secret, day, key)
        return made
