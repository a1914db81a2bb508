"""A store of very many objects that are made up from their numbers, for tests of memory.

    python -m tests.stores.crowd COUNT

A process of its own, so that its work and memory aren't those of the test; it prints its port. It
has one bucket, `crowd`, with COUNT objects `d/part-NUMBER` of 10 000 bytes, which can be listed,
looked at and deleted. It checks no signatures.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "crowd"
PREFIX = "d/part-"
DIGITS = 8
PAGE = 1000
ITEM = (
    "<Contents><Key>d/part-{0:08}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
    '<ETag>"{0:032x}"</ETag><Size>10000</Size><StorageClass>STANDARD</StorageClass></Contents>'
)
HEADERS = (
    "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\nContent-Type: text/plain\r\n"
    'ETag: "{0:032x}"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n'
    "x-amz-meta-mode: 33188\r\nx-amz-meta-uid: 1000\r\nx-amz-meta-gid: 1000\r\n\r\n"
)
MISSING = "<Error><Code>NoSuchKey</Code></Error>"


class Crowd:
    """The objects, and which of them were deleted."""

    def __init__(self, count: int) -> None:
        self.gone = bytearray(count)

    def answer(self, method: str, target: str) -> bytes:
        """Return the whole answer to a request without a body."""
        url = urlsplit(target)
        _, _, key = unquote(url.path).lstrip("/").partition("/")
        if not key:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            return _ok(self._listing(query) if "list-type" in query else "<Result></Result>")
        number = self._number(key)
        if method == "DELETE":
            if number is not None:
                self.gone[number] = 1
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        if number is None:
            return _answer("404 Not Found", MISSING, bodiless=method == "HEAD")
        if method == "HEAD":
            return HEADERS.format(number).encode()
        return _answer("501 Not Implemented", "<Error><Code>NotImplemented</Code></Error>")

    def _number(self, key: str) -> int | None:
        digits = key.removeprefix(PREFIX)
        if digits == key or not digits.isdigit() or int(digits) >= len(self.gone):
            return None
        return None if self.gone[int(digits)] else int(digits)

    def _listing(self, query: dict[str, str]) -> str:
        prefix = query.get("prefix", "")
        most = int(query.get("max-keys", PAGE))
        if not prefix and query.get("delimiter"):
            return _result("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>")
        if not (PREFIX.startswith(prefix) or self._number(prefix) is not None):
            return _result("")
        after = query.get("continuation-token") or query.get("start-after", "")[len(PREFIX) :]
        numbers = [*self._there(int(after) + 1 if after else 0, most + 1)]
        items = "".join(ITEM.format(number) for number in numbers[:most])
        more = f"{numbers[most - 1]:08}" if len(numbers) > most else ""
        return _result(items, more)

    def _there(self, first: int, most: int) -> Iterator[int]:
        at = first - 1
        for _ in range(most):
            at = self.gone.find(0, at + 1)
            if at < 0:
                return
            yield at


def _result(items: str, more: str = "") -> str:
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    told = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}"
    return f"<ListBucketResult><Name>{BUCKET}</Name>{told}{items}</ListBucketResult>"


def _ok(body: str) -> bytes:
    return _answer("200 OK", body)


def _answer(status: str, body: str, *, bodiless: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{'' if bodiless else body}".encode()


def _serve(crowd: Crowd, connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as lines:
        while request := lines.readline():
            length = 0
            while (line := lines.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            lines.read(length)
            method, target, _ = request.decode("latin-1").split(" ")
            connection.sendall(crowd.answer(method, target))


def main(count: int) -> None:
    """Serve until killed."""
    crowd = Crowd(count)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(crowd, connection), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
