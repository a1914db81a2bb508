"""The status socket by itself: who asks gets an answer, who misbehaves gets nothing."""

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fusefs.run import status
from fusefs.run.status import MountStatus, Status
from tests.fusefs.listeners import failing

MOUNTS = {"a": MountStatus("/bus/a", "serving"), "b": MountStatus("/bus/b", "starting")}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """The socket of a running status server."""
    path = str(tmp_path / "run/worker.sock")
    server = Status(path, lambda: MOUNTS)
    server.start()
    yield path
    server.close()


def test_it_answers_with_every_mount(path: str) -> None:
    """As values, not as text."""
    assert status.ask(path) == MOUNTS


def test_a_mount_that_does_not_serve_yet_is_not_well(path: str) -> None:
    """A startup probe waits for that."""
    assert status.verdict("a", path) == ""
    assert status.verdict("b", path) == "b: starting"
    assert status.verdict(None, path) == "b: starting"


def test_peers_that_send_or_never_read_do_no_harm(path: str) -> None:
    """Nothing is read from them, and nothing waits for them."""
    with ExitStack() as peers:
        for _ in range(100):
            peer = peers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            peer.connect(path)
            with suppress(OSError):
                peer.send(b"\0" * 1000)
        assert status.ask(path) == MOUNTS


def test_a_full_descriptor_table_is_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Probes wait in the queue; the log has one line."""
    path = str(tmp_path / "run/worker.sock")
    server = Status(path, lambda: MOUNTS)
    server._listener = failing(server._listener, [errno.EMFILE, errno.ENFILE])
    server.start()
    assert status.ask(path) == MOUNTS
    server.close()
    assert [record.message for record in caplog.records] == ["cannot accept a client of the status"]


def test_a_server_that_answers_nonsense_is_named(tmp_path: Path) -> None:
    """The probe fails with a reason instead of a traceback."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        for nonsense in (b"x", b"[]", b'{"mounts": {"a": {"color": 1}}}', b""):
            threading.Thread(target=lambda n=nonsense: answer(listener, n), daemon=True).start()
            assert path in status.verdict(None, path)


def answer(listener: socket.socket, message: bytes) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.send(message)


def test_a_server_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """A stopped worker accepts, through its backlog, and says nothing."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        began = time.monotonic()
        assert "timed out" in status.verdict(None, path, timeout=0.2)
        assert time.monotonic() - began < 1


def test_a_closed_server_leaves_nothing(tmp_path: Path) -> None:
    """Neither socket file, descriptor nor thread."""
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    path = tmp_path / "run/s"
    server = Status(str(path), lambda: MOUNTS)
    server.start()
    server.close()
    after = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    assert not path.exists() and after == before


def test_a_bug_behind_it_is_told(tmp_path: Path) -> None:
    """And the next probe is answered, too."""
    path = str(tmp_path / "s")
    server = Status(path, lambda: {"a": MOUNTS["no such"]})
    server.start()
    for _ in range(2):
        assert "KeyError" in status.verdict(None, path)
    server.close()


def test_any_user_may_ask(path: str) -> None:
    """A probe runs as whatever user its container has."""
    assert os.stat(path).st_mode & 0o777 == 0o666
