"""The benchmark's link: it counts what the tests' proxy counts, and waits as that one does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import monotonic
from urllib.parse import urlsplit

import pytest

from bench.framing import Body
from bench.link import Link
from bench.relay import BLOCK
from tests.bench.canned import CannedStore
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket, Endpoint
from tests.stores.server import QuirkyStore

LARGE = bytes(range(256)) * 4096  # 1 MiB
CHUNKED = b"5;note=x\r\nfirst\r\nA\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n"
ANSWERS = {
    "/b/length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
    "/b/large": b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + LARGE,
    "/b/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "/b/to-the-end": b"HTTP/1.1 200 OK\r\n\r\nas long as it comes",
    "/b/last": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    "/b/head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "/b/nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/b/unchanged": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "/b/continued": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "/b/short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst",
}
CLOSING = ("/b/to-the-end", "/b/last", "/b/short")


@pytest.fixture(scope="module")
def store() -> Iterator[CannedStore]:
    """A store that answers as above."""
    with CannedStore(ANSWERS, CLOSING) as running:
        yield running


@pytest.fixture(scope="module")
def link(store: CannedStore) -> Iterator[Link]:
    """A link to it that neither waits nor slows down."""
    with Link(store.endpoint, latency=0.0, rate=None) as running:
        yield running


def connected(endpoint: Endpoint) -> socket.socket:
    """Return a connection."""
    target = urlsplit(endpoint.url)
    return socket.create_connection((target.hostname, target.port), timeout=20)


def received(sock: socket.socket, size: int) -> bytes:
    """Return so many bytes, or what comes until the connection is closed."""
    got = b""
    while len(got) < size and (block := sock.recv(1 << 16)):
        got += block
    return got


def get(path: str, method: str = "GET") -> bytes:
    """Return a request without a body."""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def many_requests(bucket: Bucket) -> None:
    """Ask for one of everything that file systems ask for."""
    client, here = bucket.client, {"Bucket": bucket.name}
    bucket.put("a b/ü", LARGE)
    bucket.put("empty", b"")
    assert bucket.get("a b/ü") == LARGE
    client.get_object(**here, Key="a b/ü", Range="bytes=5-9")["Body"].read()
    client.head_object(**here, Key="a b/ü")
    client.list_objects_v2(**here, Prefix="a b/", Delimiter="/")
    client.copy_object(**here, Key="copy", CopySource=here | {"Key": "empty"})
    upload = client.create_multipart_upload(**here, Key="parts", ChecksumAlgorithm="CRC32")[
        "UploadId"
    ]
    part = {"Key": "parts", "UploadId": upload, "PartNumber": 1}
    client.upload_part(**here, **part, Body=LARGE, ChecksumAlgorithm="CRC32")
    source = here | {"Key": "a b/ü"}
    with pytest.raises(client.exceptions.ClientError):  # too small; counted all the same
        client.upload_part_copy(**here, **part, CopySource=source, CopySourceRange="bytes=0-9")
    client.abort_multipart_upload(**here, Key="parts", UploadId=upload)
    client.delete_object(**here, Key="copy")


def test_it_counts_what_the_tests_proxy_counts() -> None:
    """Operations by name, and the bytes of bodies either way."""
    with (
        QuirkyStore() as store,
        Proxy(store.endpoint) as proxy,
        Link(store.endpoint, latency=0.0, rate=None) as link,
    ):
        for way in (proxy.endpoint, link.endpoint):
            many_requests(Bucket(store.name, way, way.client()))
        seen = proxy.requests
        assert len(seen.operations) >= 9
        assert link.counted() == (seen.operations, seen.uploaded + seen.downloaded)
        assert link.counted() == ({}, 0)


@pytest.mark.parametrize("path", sorted(set(ANSWERS) - {"/b/short", "/b/head"}))
def test_an_answer_passes_as_it_is(store: CannedStore, link: Link, path: str) -> None:
    """However its end is told; its body counts as it is on the wire."""
    link.counted()
    expected = ANSWERS[path].removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    with Proxy(store.endpoint) as proxy:
        for way in (proxy.endpoint, link.endpoint):
            with connected(way) as sock:
                sock.sendall(get(path))
                assert received(sock, len(expected)) == expected
        assert link.counted() == (proxy.requests.operations, proxy.requests.downloaded)


def test_a_connection_carries_many_requests(link: Link) -> None:
    """Those whose answers have no body, too; sent one after another, or all at once."""
    link.counted()
    asked = [get("/b/head", "HEAD"), get("/b/nothing"), get("/b/chunked"), get("/b/length")]
    expected = b"".join(ANSWERS[f"/b/{name}"] for name in ("head", "nothing", "chunked", "length"))
    with connected(link.endpoint) as sock:
        for each in asked:
            sock.sendall(each)
        assert received(sock, len(expected)) == expected
    assert link.counted() == ({"HeadObject": 1, "GetObject": 3}, len(CHUNKED) + 5)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_request_passes_as_it_is(store: CannedStore, link: Link, step: int) -> None:
    """In whatever pieces it comes."""
    link.counted()
    head = b"PUT /b/length?partNumber=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(link.endpoint) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(head + CHUNKED), step):
            sock.sendall((head + CHUNKED)[at : at + step])
        received(sock, len(ANSWERS["/b/length"]))
    assert (store.arrived[-1].head, store.arrived[-1].body) == (head, CHUNKED)
    assert link.counted() == ({"UploadPart": 1}, len(CHUNKED) + 5)


def test_a_body_that_waits_for_leave_gets_it(store: CannedStore, link: Link) -> None:
    """The link says "continue" itself, as the tests' proxy does, and the store isn't asked."""
    with connected(link.endpoint) as sock:
        sock.sendall(b"PUT /b/length HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert received(sock, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert received(sock, len(ANSWERS["/b/length"])) == ANSWERS["/b/length"]
    assert store.arrived[-1].body == b"abc"
    assert b"Expect" not in store.arrived[-1].head


def test_an_answer_that_breaks_off_breaks_off(link: Link) -> None:
    """The client sees a broken connection; others go on."""
    with connected(link.endpoint) as sock, connected(link.endpoint) as other:
        sock.sendall(get("/b/short"))
        with pytest.raises(ConnectionResetError):
            received(sock, 1 << 20)
        other.sendall(get("/b/length"))
        assert received(other, len(ANSWERS["/b/length"])) == ANSWERS["/b/length"]


def test_a_request_reaches_the_store_after_the_latency(store: CannedStore) -> None:
    """Each its own, from when it was sent: as many wait at once as there are connections."""
    with Link(store.endpoint, latency=0.05, rate=None) as link, ThreadPoolExecutor(20) as pool:
        start = Barrier(20)
        store.arrived.clear()
        store.gate = Barrier(20)  # no answer before all have arrived

        def ask(number: int) -> tuple[bytes, float]:
            with connected(link.endpoint) as sock:
                start.wait()
                sent, request = monotonic(), get(f"/b/length?{number}")
                sock.sendall(request)
                received(sock, len(ANSWERS["/b/length"]))
                return request, sent

        sent = dict(pool.map(ask, range(20)))
        store.gate = None
    assert len(store.arrived) == 20
    assert all(each.at - sent[each.head] >= 0.05 for each in store.arrived)


@pytest.mark.parametrize("path", ["/b/large", "/b/length"])
def test_a_body_moves_no_faster_than_the_rate(store: CannedStore, path: str) -> None:
    """Either way; its first block goes at once."""
    rate = 5 * 10**6
    with Link(store.endpoint, latency=0.0, rate=rate) as link, connected(link.endpoint) as sock:
        body = LARGE if path == "/b/length" else b""
        began = monotonic()
        head = f"PUT {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        assert received(sock, len(ANSWERS[path])) == ANSWERS[path]
        assert monotonic() - began >= (len(LARGE) - BLOCK) / rate
        assert store.arrived[-1].body == body
        assert link.counted()[1] == len(body) + len(ANSWERS[path].partition(b"\r\n\r\n")[2])


def test_a_chunked_body_ends_where_it_ends() -> None:
    """However it is cut, and whatever follows."""
    head = b"http/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\n"
    data = CHUNKED + b"HTTP/1.1"
    for cut in range(len(data)):
        body = Body(head)
        first = body.take(memoryview(data[:cut]))
        assert first == min(cut, len(CHUNKED))
        assert first + body.take(memoryview(data[first:])) == len(CHUNKED)
        assert body.over


def test_it_ends_with_whoever_made_it() -> None:
    """Also with one that was killed, and could stop nothing."""
    program = (
        "import os, signal\n"
        "from bench.link import Link\n"
        "from tests.servers.s3 import Credentials, Endpoint\n"
        "Link(Endpoint('http://127.0.0.1:9', Credentials('a', 'b')))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # Its output ends when the last process that has it does.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
