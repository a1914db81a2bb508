"""moto: the store that accepts any key, `a//b` and `..` included.

It keeps the metadata of directory markers, checks no signature, and ignores If-Match on
CompleteMultipartUpload.
"""

from __future__ import annotations

import logging

from moto.server import ThreadedMotoServer

from tests.servers.s3 import Credentials, Endpoint

CREDENTIALS = Credentials("moto-access-key", "moto-secret-key")


class MotoServer:
    """A running server, in a thread of this process; use as a context manager."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else a line per request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        _, port = self._server.get_host_and_port()
        self.endpoint = Endpoint(f"http://127.0.0.1:{port}", CREDENTIALS)

    def __enter__(self) -> MotoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
