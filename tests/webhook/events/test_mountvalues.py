"""Metrics read from whoever listens in a pod."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from webhook.events.mountvalues import parsed, read_values

METRICS = b"""# HELP s3mount_conflicts_total Files kept.
# TYPE s3mount_conflicts_total counter
s3mount_conflicts_total{mount="default"} 3.0
s3mount_conflicts_total{mount="other"} 0.0
s3mount_remounted{mount="default"} 1.0
s3mount_dirty_bytes{mount="default"} 1e+06
process_start_time_seconds 1.7e+09
"""
HEAD = b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n"
Answering = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(answer: Answering) -> Iterator[int]:
    """A port that takes one client and does as given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                client.recv(1000)
                answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_numbers_are_read_by_mount() -> None:
    """Those that events are made of, and when the process began."""
    with listening(lambda client: client.sendall(HEAD + METRICS)) as port:
        found = read_values("127.0.0.1", port)
    assert found.began == 1.7e9
    assert found.mounts == {
        "default": {"conflicts_total": 3.0, "remounted": 1.0},
        "other": {"conflicts_total": 0.0},
    }


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.0 302 Found\r\nlocation: http://elsewhere/\r\n\r\n", b"SSH-2.0-x\r\n", HEAD],
)
def test_who_serves_no_metrics_is_an_error(answer: bytes) -> None:
    """A redirection is followed nowhere."""
    with listening(lambda client: client.sendall(answer)) as port, pytest.raises(OSError):
        read_values("127.0.0.1", port)


def test_who_drips_is_given_up() -> None:
    """The time is for the whole of it."""

    def drip(client: socket.socket) -> None:
        for _ in range(100):
            client.sendall(b"x")
            time.sleep(0.02)

    with listening(drip) as port, pytest.raises(TimeoutError):
        read_values("127.0.0.1", port, seconds=0.1)


def test_who_never_ends_is_given_up() -> None:
    """Bytes are bounded, too."""

    def flood(client: socket.socket) -> None:
        while True:
            client.sendall(bytes(2**20))

    with listening(flood) as port, pytest.raises(OSError, match="longer"):
        read_values("127.0.0.1", port)


@pytest.mark.parametrize("number", [b"NaN", b"-1", b"1e300", b"Inf", b"x"])
def test_numbers_that_are_none_are_refused(number: bytes) -> None:
    """Nothing can be counted with them."""
    for text in (METRICS.replace(b"3.0", number), METRICS.replace(b"1.7e+09", number)):
        with pytest.raises(OSError):
            parsed(text)


def test_labels_without_an_end_take_no_time() -> None:
    """Whoever answers in a pod's place can't keep the process from all other pods."""
    labels = b'mount="default" ' * 2**17
    assert parsed(b"process_start_time_seconds 1\ns3mount_conflicts_total{" + labels).mounts == {}
