"""A request as it came, its answer, and the refusal that ends it.

Refused     the error answer of an operation, raised where the reason is found
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from tests.proxy.operations import operation

META = "x-amz-meta-"


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Request:
    """One request; header names in lower case, values as latin-1 tells their bytes."""

    method: str
    path: str  # as it was sent
    query: Mapping[str, str]
    raw_query: str
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
        """Take a request apart."""
        path, _, query = target.partition("?")
        told = dict(parse_qsl(query, keep_blank_values=True))
        return cls(method, path, told, query, headers, body)

    @property
    def bucket(self) -> str:
        """The bucket of a path-style request."""
        return self.path.lstrip("/").partition("/")[0]

    @property
    def key(self) -> str:
        """The key, empty for the bucket itself."""
        return unquote(self.path.lstrip("/").partition("/")[2])

    @property
    def operation(self) -> str:
        """The name of the operation in the API reference."""
        if "session" in self.query:
            return "CreateSession"
        return operation(self.method, self.key, self.query, self.headers)

    @property
    def metadata(self) -> dict[str, str]:
        """The user metadata that came with it."""
        return {
            name[len(META) :]: value for name, value in self.headers.items() if META in name[:11]
        }

    @property
    def system(self) -> dict[str, str]:
        """The headers that are kept with an object."""
        kept = ("cache-control", "content-type", "content-encoding", "content-disposition")
        return {name: self.headers[name] for name in kept if name in self.headers}


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def document(name: str, content: str) -> bytes:
    """Return an XML document; `content` is XML already."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{content}</{name}>'.encode()


def element(name: str, text: object) -> str:
    """Return an XML element with a text."""
    return f"<{name}>{escape(str(text))}</{name}>"
