"""What is sent to the kernel unasked, byte for byte."""

import socket
import threading
from collections.abc import Iterator

import pytest

from fusefs.kernel import wire
from fusefs.kernel.notify import MAX_WAITING, Notifier, send_resend


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernels.settimeout(5)
    with ours, kernels:
        yield ours, kernels


def test_resend_is_a_bare_header(pair: tuple[socket.socket, socket.socket]) -> None:
    """Code 7 in the error field, unique 0."""
    send_resend(pair[0].fileno())
    assert pair[1].recv(100) == wire.OUT_HEADER.pack(16, 7, 0)


def test_a_changed_node_is_invalidated_whole_under_each_id(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Offset 0 and length 0: attributes and all content."""
    notifier = Notifier(pair[0].fileno(), lambda node: (node, node + 100))
    notifier.start()
    notifier.node_changed(7)
    for node in (7, 107):
        body = wire.NOTIFY_INVAL_INODE_OUT.pack(node, 0, 0)
        assert pair[1].recv(100) == wire.OUT_HEADER.pack(40, 2, 0) + body
    notifier.close()


def test_a_changed_name_is_sent_with_its_length_and_a_nul(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Names that aren't UTF-8 go as the bytes they are."""
    notifier = Notifier(pair[0].fileno(), lambda node: (node,))
    notifier.start()
    notifier.entry_changed(1, "n\udcff")
    body = wire.NOTIFY_INVAL_ENTRY_OUT.pack(1, 2, 0) + b"n\xff\0"
    assert pair[1].recv(100) == wire.OUT_HEADER.pack(16 + len(body), 3, 0) + body
    notifier.close()


def test_callers_never_wait_and_equal_changes_are_sent_once(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Whatever the kernel does meanwhile; and the queue has an end."""
    gate = threading.Event()

    def held(node: int) -> tuple[int, ...]:
        gate.wait(5)
        return (node,)

    notifier = Notifier(pair[0].fileno(), held)
    for node in range(MAX_WAITING + 10):
        notifier.node_changed(node)
        notifier.node_changed(0)
    notifier.start()
    gate.set()
    received = pair[1].recv(100)
    assert wire.NOTIFY_INVAL_INODE_OUT.unpack(received[16:])[0] == 0
    second = wire.NOTIFY_INVAL_INODE_OUT.unpack(pair[1].recv(100)[16:])[0]
    assert second == 1
    pair[1].close()  # its thread waits for room in the socket
    notifier.close()


def test_a_mount_that_is_gone_is_no_news(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    """Invalidations and the end of a mount race; the thread ends quietly."""
    notifier = Notifier(-1, lambda node: (node,))
    notifier.start()
    notifier.node_changed(1)
    notifier.close()
    assert not caplog.records
