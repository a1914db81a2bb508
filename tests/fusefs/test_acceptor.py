"""Accepting clients where accept(2) fails."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from fusefs.acceptor import REPORT_SECONDS, Acceptor
from tests.fusefs.listeners import FailingListener, failing


@pytest.fixture
def listener() -> Iterator[FailingListener]:
    """A listener on this machine, without failures yet."""
    with failing(socket.create_server(("127.0.0.1", 0)), []) as made:
        yield made


def test_a_failure_that_passes_is_no_end(listener: FailingListener) -> None:
    """The client that waited is accepted by the next call."""
    reports: list[OSError] = []
    acceptor = Acceptor(reports.append)
    listener.failures = [errno.EMFILE]
    with socket.create_connection(listener.getsockname()) as client:
        assert acceptor.accept(listener) is None
        accepted = acceptor.accept(listener)
        assert accepted is not None
        with accepted[0]:
            assert accepted[1] == client.getsockname()
    assert [error.errno for error in reports] == [errno.EMFILE]


def test_failures_are_reported_once_a_minute(listener: FailingListener) -> None:
    """However many there are, and whether some clients are accepted between them or not."""
    now = [0.0]
    reports: list[OSError] = []
    acceptor = Acceptor(reports.append, lambda: now[0])
    listener.failures = [errno.EMFILE, errno.ENFILE, errno.EMFILE]
    for moment, reported in ((0.0, 1), (REPORT_SECONDS - 1, 1), (REPORT_SECONDS, 2)):
        now[0] = moment
        assert acceptor.accept(listener) is None
        assert len(reports) == reported


def test_the_end_of_the_listener_is_an_error(listener: FailingListener) -> None:
    """Shut down by another thread, or closed: no client will come."""
    acceptor = Acceptor(lambda _: None)
    listener.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="Invalid argument"):
        acceptor.accept(listener)
    listener.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        acceptor.accept(listener)
