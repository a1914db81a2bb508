"""The S3 server of the checks: that of E2E_S3_ENDPOINT, else a `weed` on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from kubernetes.client import Configuration

from tests.servers.s3 import Credentials, Endpoint
from tests.servers.seaweed import SeaweedServer


@contextmanager
def store_of(environ: Mapping[str, str]) -> Iterator[Endpoint]:
    """Yield a server that pods reach.

    The keys of E2E_S3_ENDPOINT are in E2E_S3_ACCESS_KEY and E2E_S3_SECRET_KEY. A server of our own
    listens on E2E_S3_HOST, or on the address by which this machine reaches the API server.
    """
    url = environ.get("E2E_S3_ENDPOINT")
    if url:
        yield Endpoint(url, Credentials(environ["E2E_S3_ACCESS_KEY"], environ["E2E_S3_SECRET_KEY"]))
        return
    with SeaweedServer(environ.get("E2E_S3_HOST") or _own_address()) as server:
        yield server.endpoint


def _own_address() -> str:
    api = urlsplit(Configuration.get_default_copy().host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((api.hostname, api.port or 443))
        return str(probe.getsockname()[0])
