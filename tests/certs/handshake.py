"""A TLS handshake in memory: a client that verifies, a server with one leaf, no sockets."""

import ssl
import tempfile
from pathlib import Path

from certs.x509 import Leaf


def server_context(leaf: Leaf) -> ssl.SSLContext:
    """Build the server's side from a leaf, through files as the standard library wants it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate.write_bytes(leaf.certificate)
        key.write_bytes(leaf.key)
        context.load_cert_chain(certificate, key)
    return context


def handshake(leaf: Leaf, trusted: bytes, name: str) -> str | None:
    """Connect as a client that trusts a bundle; returns the TLS version or raises SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=trusted.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context(leaf).wrap_bio(to_server, to_client, server_side=True)
    finished: set[ssl.SSLObject] = set()
    while len(finished) < 2:
        for side in {client, server} - finished:
            try:
                side.do_handshake()
                finished.add(side)
            except ssl.SSLWantReadError:
                continue
    return client.version()
