"""The metrics of one pod's worker, read over HTTP from the pod's own address.

Everybody in the pod shares that address, so whatever answers is a stranger: its answer is bounded
in time and bytes, followed nowhere, and only numbers of known names are taken. Any thread.
"""

import re
import socket
import time

from webhook.events.findings import COUNTED, Values

SECONDS = 3.0
_MOST = 2 * 2**20
_READ = 64 * 2**10
# Two steps: one expression would try each "mount=" of a line with each end of its labels.
_LINE = re.compile(rb"^s3mount_(\w+)\{([^}\n]*)\} (\S+)$", re.MULTILINE)
_MOUNT = re.compile(rb'\bmount="([a-z0-9-]+)"')
_BEGAN = re.compile(rb"^process_start_time_seconds (\S+)$", re.MULTILINE)
_REQUEST = b"GET /metrics HTTP/1.0\r\nhost: worker\r\naccept: text/plain\r\n\r\n"


def read_values(address: str, port: int, seconds: float = SECONDS) -> Values:
    """Return what a worker says now; OSError if that can't be had."""
    until = time.monotonic() + seconds
    with socket.create_connection((address, port), timeout=seconds) as connection:
        connection.sendall(_REQUEST)
        text = _received(connection, until)
    head, _, body = text.partition(b"\r\n\r\n")
    if not re.match(rb"HTTP/1\.[01] 200 ", head):
        raise OSError(f"{address} port {port} answers no metrics")
    return parsed(body)


def _received(connection: socket.socket, until: float) -> bytes:
    found = bytearray()
    while len(found) <= _MOST:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the metrics took too long")
        connection.settimeout(left)
        data = connection.recv(_READ)
        if not data:
            return bytes(found)
        found += data
    raise OSError("the metrics are longer than any")


def parsed(text: bytes) -> Values:
    """Return the numbers that events are made of; OSError if it doesn't say since when."""
    began = _BEGAN.search(text)
    mounts: dict[str, dict[str, float]] = {}
    try:
        for name, labels, value in _LINE.findall(text):
            mount = _MOUNT.search(labels) if name.decode() in COUNTED else None
            if mount is not None:
                mounts.setdefault(mount[1].decode(), {})[name.decode()] = _finite(value)
        return Values(_finite(began[1] if began else b""), mounts)
    except ValueError as error:
        raise OSError("these are no metrics of a worker") from error


def _finite(text: bytes) -> float:
    value = float(text)
    if not 0 <= value < 2**53:
        raise ValueError
    return value
