"""Keeper and worker when the other misbehaves, or the machine does."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fusefs.errors import SetupError
from fusefs.keeper import protocol
from fusefs.keeper.client import KeeperClient
from fusefs.kernel.readers import RESTING_MOST
from tests.fusefs.survival.pod import Pod

pytestmark = pytest.mark.mount

FULL = 4  # fewer than are open; but poll(2) fails when it is given more than the limit


@contextmanager
def stopped(process: "subprocess.Popen[bytes] | None") -> Iterator[None]:
    """Stop a process for the time of a with statement, as a frozen container is."""
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    while not all(is_stopped(task) for task in Path(f"/proc/{process.pid}/task").iterdir()):
        time.sleep(0.01)  # each thread stops when it is next scheduled
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def is_stopped(task: Path) -> bool:
    """Say whether a thread has stopped; one that is gone has."""
    try:
        return (task / "stat").read_text().rpartition(") ")[2].startswith("T")
    except (FileNotFoundError, ProcessLookupError):
        return True


def limit_descriptors(process: "subprocess.Popen[bytes] | None", most: int) -> None:
    """Let a running process open descriptors below `most` only; what it has stays."""
    assert process is not None
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, hard))


def test_a_stopped_worker_makes_callers_wait_and_a_probe_fail(pod: Pod) -> None:
    """No error for the application; it goes on where it was."""
    (pod.bus / "one/f").write_text("x")
    with stopped(pod.worker):
        reader = subprocess.Popen(["md5sum", pod.bus / "one/f"], stdout=subprocess.PIPE)
        verdict, waits = pod.verdict(), reader.poll() is None
    output, _ = reader.communicate(timeout=20)
    assert "timed out" in verdict
    assert waits
    assert output and reader.returncode == 0


def test_a_second_worker_can_not_take_the_mount_of_a_stopped_one(pod: Pod) -> None:
    """Two servers of one connection would answer from two journals."""
    with stopped(pod.worker):
        client = KeeperClient(str(pod.keeper_socket))
        client.connect(1.0)
        with pytest.raises(SetupError, match="another worker"):
            client.take("one", timeout=0.5)
        client.close()
    assert not pod.verdict()


def test_a_stopped_keeper_does_not_stop_the_worker(pod: Pod) -> None:
    """Reads and writes go on at once; what needs the keeper does without."""
    (pod.bus / "one/first").touch()  # INIT is answered only when the keeper remembers it
    with stopped(pod.keeper):
        began = time.monotonic()
        subprocess.run(
            ["sh", "-c", "echo x > f; cat f; rm f"], cwd=pod.bus / "one", check=True, timeout=10
        )
        assert time.monotonic() - began < 2
    assert not pod.verdict()


def test_a_keeper_stopped_for_long_gets_the_mounts_again(pod: Pod) -> None:
    """The worker gave up on it and came again, several times; all of that waits in its queue."""
    pod.environment["WHOLE"] = "1"
    pod.kill_worker()
    pod.wait_until_well()
    (pod.bus / "one/f").write_bytes(os.urandom(1 << 20))
    with stopped(pod.keeper):
        subprocess.run(["cat", pod.bus / "one/f"], check=True, timeout=20, capture_output=True)
        time.sleep(5)
    pod.wait_for_log("the keeper is back")
    pod.kill_keeper()
    pod.wait_for_log("took the mount back")
    pod.kill_worker()
    pod.wait_until_well()
    assert (pod.bus / "one/f").stat().st_size == 1 << 20
    assert "won't take the mount back" not in pod.log.read_text()


def test_a_full_descriptor_table_of_the_keeper_ends(pod: Pod) -> None:
    """It can't accept, says so without spinning, and goes on when there is room again."""
    limit_descriptors(pod.keeper, FULL)
    peers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    for peer in peers:
        peer.connect(str(pod.keeper_socket))
    pod.wait_for_log("cannot accept")
    time.sleep(0.3)
    assert pod.log.read_text().count("cannot accept") == 1
    limit_descriptors(pod.keeper, 100)
    protocol.send(peers[-1], {"op": "status"})
    assert protocol.receive(peers[-1])[0]["ok"] is True
    for peer in peers:
        peer.close()


def test_clients_of_the_keeper_that_say_nothing_hold_up_nobody(pod: Pod) -> None:
    """Nor do those that send what is no request: they are hung up on, and the worker is served."""
    with ExitStack() as stack:
        peers = [
            stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            for _ in range(5)
        ]
        for peer in peers:
            peer.settimeout(10)
            peer.connect(str(pod.keeper_socket))
        peers[-1].send(b'{"op": ')
        assert peers[-1].recv(100) == b""
        pod.kill_worker()
        pod.wait_until_well()


def test_a_full_descriptor_table_of_the_worker_is_no_end(pod: Pod) -> None:
    """Opens fail with EMFILE as long as it lasts; afterwards all is well."""
    (pod.bus / "one/f").write_text("x")
    limit_descriptors(pod.worker, FULL)
    full = subprocess.run(["cat", pod.bus / "one/f"], capture_output=True, timeout=10, check=False)
    assert full.returncode != 0 and b"Too many open files" in full.stderr
    limit_descriptors(pod.worker, 100)
    assert subprocess.run(["cat", pod.bus / "one/f"], check=True, timeout=10).returncode == 0
    assert not pod.verdict()


def test_many_readers_over_and_over_do_not_grow_the_worker(pod: Pod) -> None:
    """Threads end when the burst is over; some of them rest a few seconds first."""
    assert pod.worker is not None
    threads = Path(f"/proc/{pod.worker.pid}/task")
    (pod.bus / "one/f").write_bytes(os.urandom(1 << 20))
    script = (
        "for i in $(seq 48); do dd if=f of=/dev/null iflag=direct bs=4k status=none & done; wait"
    )
    for _ in range(2):
        subprocess.run(["sh", "-c", script], cwd=pod.bus / "one", check=True, timeout=60)
    time.sleep(0.2)
    assert len(list(threads.iterdir())) <= 12 + RESTING_MOST


def test_an_abort_in_mid_read_is_an_error_and_then_a_new_mount(pod: Pod) -> None:
    """An administrator's abort: the worker ends, its successor has a mount again."""
    (pod.bus / "one/f").write_bytes(os.urandom(8 << 20))
    script = "while dd if=f of=/dev/null iflag=direct bs=64k status=none; do :; done"
    reader = subprocess.Popen(["sh", "-c", script], cwd=pod.bus / "one", stderr=subprocess.PIPE)
    time.sleep(0.3)
    pod.abort()
    assert reader.communicate(timeout=10)[1]
    assert pod.worker is not None and pod.worker.wait(10) == 1
    pod.start_worker()
    pod.wait_until_well()
    assert (pod.bus / "one/f").stat().st_size == 8 << 20


def test_a_worker_that_waits_for_its_keeper(make_pod: Callable[..., Pod]) -> None:
    """The containers of a pod may start in any order."""
    pod = make_pod()
    pod.start_worker()
    time.sleep(0.5)
    pod.start_keeper()
    pod.wait_until_well()


def test_an_imposter_of_the_keeper_is_not_believed(make_pod: Callable[..., Pod]) -> None:
    """Garbage instead of an answer: the worker tries on, and serves when the real one is there."""
    pod = make_pod()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(pod.keeper_socket))
        listener.listen()
        listener.settimeout(10)
        pod.start_worker()
        for answer in (b"\0garbage", b'{"ok": true}', b'{"error": "x"}', b""):
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.send(answer)
    pod.start_keeper()
    pod.wait_until_well()


def test_a_killed_application_leaves_nothing_open(pod: Pod) -> None:
    """SIGKILL in the middle of its reads, many times: handles go."""
    (pod.bus / "one/f").write_bytes(os.urandom(4 << 20))
    for _ in range(10):
        reader = subprocess.Popen(
            ["sh", "-c", "while cat f > /dev/null; do :; done"], cwd=pod.bus / "one"
        )
        time.sleep(0.05)
        reader.kill()
        reader.wait(10)
    time.sleep(0.5)
    journal = (pod.bus.parent / "journal/one").read_text()
    assert journal.count('["handle"') == journal.count('["release"')
