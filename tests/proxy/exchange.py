"""One request and what became of it, and collections of them.

An exchange is written by the one proxy thread that serves it; tests read it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_CREDENTIAL = re.compile(r"Credential=([^/,]+)/")


@dataclass
class Exchange:
    """A request as it arrived; the counters grow while it is served."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    operation: str
    uploaded: int = 0  # bytes of the request's body
    downloaded: int = 0  # bytes of the answer's body that went to the client
    status: int | None = None  # None until an answer begins, and for good if none does
    fault: str | None = None  # the name of the fault that was injected
    done: bool = field(default=False)

    @property
    def access_key(self) -> str | None:
        """The key id that signed the request."""
        match = _CREDENTIAL.search(self.headers.get("authorization", ""))
        return match[1] if match else None

    @property
    def session_token(self) -> str | None:
        """The session token that came with it."""
        return self.headers.get("x-amz-security-token")

    @property
    def copy_source(self) -> str | None:
        """The object a copy reads, as `bucket/key`, still percent-encoded."""
        return self.headers.get("x-amz-copy-source")

    @property
    def condition(self) -> str | None:
        """The write precondition: `If-Match: …`, `If-None-Match: …` or None."""
        for name in ("If-Match", "If-None-Match"):
            if name.lower() in self.headers:
                return f"{name}: {self.headers[name.lower()]}"
        return None

    @property
    def byte_range(self) -> tuple[int, int] | None:
        """First and last byte asked for by `Range`, or None for all of it or an open end."""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        target = self.key or self.query.get("prefix", "")
        return f"{self.operation} {target!r} {self.headers.get('range', '')} -> {self.status}"


Match = Callable[[Exchange], bool]


def on(operation: str | None = None, key: str | None = None) -> Match:
    """Return the predicate of exchanges with this operation and this key; None matches any."""

    def matches(exchange: Exchange) -> bool:
        return operation in (None, exchange.operation) and key in (None, exchange.key)

    return matches


class Requests(Sequence[Exchange]):
    """Exchanges in the order in which they arrived."""

    def __init__(self, exchanges: Sequence[Exchange] = ()) -> None:
        self._exchanges = list(exchanges)

    def extend(self, exchanges: Sequence[Exchange]) -> None:
        """Add exchanges, for whoever collects them."""
        self._exchanges.extend(exchanges)

    @property
    def operations(self) -> dict[str, int]:
        """How often each operation was asked for."""
        return dict(Counter(exchange.operation for exchange in self._exchanges))

    @property
    def uploaded(self) -> int:
        """Bytes of all requests' bodies."""
        return sum(exchange.uploaded for exchange in self._exchanges)

    @property
    def downloaded(self) -> int:
        """Bytes of all answers' bodies."""
        return sum(exchange.downloaded for exchange in self._exchanges)

    def of(self, operation: str, key: str | None = None) -> Requests:
        """Return those with this operation and, if given, this key."""
        matches = on(operation, key)
        return Requests([exchange for exchange in self._exchanges if matches(exchange)])

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # two overloads for one line
        return self._exchanges[index]

    def __len__(self) -> int:
        return len(self._exchanges)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self._exchanges)

    def __repr__(self) -> str:
        return "\n".join(["requests:", *(f"  {exchange}" for exchange in self._exchanges)])
