"""The HTTP of the quirky store: one thread per connection, one bucket, path-style requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.s3 import Bucket, Credentials, Endpoint
from tests.stores import reading, uploads, writing
from tests.stores.contents import Contents
from tests.stores.quirks import Quirk
from tests.stores.request import Refused, Reply, Request, document, element
from tests.stores.signatures import Gate

CREDENTIALS = Credentials("quirky-access-key", "quirky-secret-key")
Operation = Callable[[Contents, Request, Collection[Quirk]], Reply]
OPERATIONS: dict[str, Operation] = {
    "AbortMultipartUpload": uploads.abort,
    "CompleteMultipartUpload": uploads.complete,
    "CopyObject": writing.copy,
    "CreateMultipartUpload": uploads.begin,
    "DeleteObject": writing.delete,
    "GetObject": reading.get,
    "HeadObject": reading.head,
    "ListObjectsV2": reading.list_objects,
    "PutObject": writing.put,
    "RenameObject": writing.rename,
    "UploadPart": uploads.part,
    "UploadPartCopy": uploads.copy_part,
}


class QuirkyStore:
    """A running store with one bucket; use as a context manager.

    `contents` is what it keeps, for tests to look at and to write as other clients would.
    """

    def __init__(self, quirks: Collection[Quirk] = ()) -> None:
        self.quirks = frozenset(quirks)
        express = Quirk.DIRECTORY_BUCKET in self.quirks
        self.name = "quirky--use1-az4--x-s3" if express else "quirky"
        self.contents = Contents(random_etags=express)
        self._gate = Gate(CREDENTIALS, express)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.endpoint = Endpoint(f"http://127.0.0.1:{self._server.server_port}", CREDENTIALS)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def bucket(self) -> Bucket:
        """The bucket as tests of the file system know one."""
        return Bucket(self.name, self.endpoint, self.endpoint.client())

    def answer(self, request: Request) -> Reply:
        """Carry out one request, or say why not."""
        try:
            return self._carried_out(request)
        except Refused as refused:
            told = element("Code", refused.code) + element("Message", refused.message)
            return Reply(
                refused.status, {"content-type": "application/xml"}, document("Error", told)
            )

    def _carried_out(self, request: Request) -> Reply:
        self._gate.admit(request)
        if request.bucket != self.name:
            raise Refused(404, "NoSuchBucket", request.bucket)
        if request.operation == "CreateSession":
            return self._gate.create_session()
        operation = OPERATIONS.get(request.operation)
        if operation is None:
            raise Refused(501, "NotImplemented", request.operation)
        with self.contents.lock:
            return operation(self.contents, request, self.quirks)

    def __enter__(self) -> QuirkyStore:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _handler(store: QuirkyStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one piece

        def handle_expect_100(self) -> bool:
            answered = super().handle_expect_100()
            self.wfile.flush()
            return answered

        def _serve(self) -> None:
            size = int(self.headers.get("content-length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request.of(self.command, self.path, headers, self.rfile.read(size))
            self._send(store.answer(request))

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            if "content-length" not in reply.headers:
                self.send_header("content-length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)
            self.wfile.flush()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    return Handler
