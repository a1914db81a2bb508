"""User metadata that isn't ASCII, sent back through boto3 as its store sent it.

Stores answer such metadata as RFC 2047 (AWS; ASCII, and goes back as it came) or as raw bytes,
which `http.client` gives as latin-1 text. boto3 refuses both to send and to sign raw bytes: it gets
them as the UTF-8 they are nearly always, and its request is given the bytes before it goes.
`fastpath` sends any bytes by itself. Handlers of boto3's events; no boto3 here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fusefs import errors

META = "x-amz-meta-"
# Operations with metadata, whose check for ASCII is taken away.
OPERATIONS = ("PutObject", "CopyObject", "CreateMultipartUpload")


def let_through(events: Any, check: Callable[..., None]) -> None:
    """Have a client send what isn't ASCII; `check` is boto3's own, which refuses it."""
    for name in OPERATIONS:
        events.unregister(f"before-parameter-build.s3.{name}", check)
        events.register(f"before-call.s3.{name}", as_text)
        events.register(f"before-send.s3.{name}", as_bytes)


def as_text(params: Mapping[str, Any], **_: Any) -> None:
    """Have boto3 sign the bytes: it encodes text as UTF-8 (event `before-call`)."""
    headers = params["headers"]
    for name, value in list(headers.items()):
        if name.lower().startswith(META) and isinstance(value, str) and not value.isascii():
            try:
                headers[name] = value.encode("latin-1").decode()
            except UnicodeError as error:
                raise errors.Unavailable(
                    f"metadata {name[len(META) :]!r} is neither ASCII nor UTF-8: the SDK can't "
                    "send it back"
                ) from error


def as_bytes(request: Any, **_: Any) -> None:
    """Have the text sent as the bytes that were signed (event `before-send`)."""
    for name, value in list(request.headers.items()):
        if name.lower().startswith(META) and isinstance(value, str) and not value.isascii():
            request.headers[name] = value.encode()
