"""The journal of nodes and handles: what a next process learns of it, whatever became of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fusefs import resend
from fusefs.disk.linefile import AHEAD, LineFile
from fusefs.session.compaction import TAIL_MOST, Compaction
from fusefs.session.sessionlog import (
    PASSTHROUGH,
    LoggedNode,
    LoggedVersion,
    SessionLog,
    SessionState,
)

VERSION = LoggedVersion("k", "e1", 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "session.log"


@pytest.fixture
def log(path: Path) -> Iterator[SessionLog]:
    """A journal of a mount that begins, with a file and a directory open."""
    log = SessionLog(path, SessionState())
    resend.asked(20)
    log.made(2, 1, directory=False, name="file \n")
    log.opened(7, 2, os.O_RDONLY, VERSION)
    log.made(3, 1, directory=True, name="d")
    log.opened_directory(8, 3)
    yield log
    resend.asked(0)
    log.close()


def test_a_next_process_learns_all_that_is_alive(log: SessionLog, path: Path) -> None:
    """Nodes, handles, the version each is bound to by now, and the request that opened it."""
    log.moved(2, 3, "other")
    log.became(2, "e1", LoggedVersion("d/other", "e2", 11))
    state = SessionLog.read(path)
    assert state.nodes[2] == LoggedNode(3, directory=False, name="other")
    assert state.files[7].version == LoggedVersion("d/other", "e2", 11)
    assert (state.files[7].request, state.directories[8].request) == (20, 20)


def test_what_the_kernel_reads_keeps_its_version(log: SessionLog, path: Path) -> None:
    """Whoever writes the file; said again without the flag, the handle is as any other."""
    log.opened(7, 2, os.O_RDONLY | PASSTHROUGH, VERSION)
    log.became(2, "e1", LoggedVersion("d/other", "e2", 11))
    assert SessionLog.read(path).files[7].version == VERSION
    log.opened(7, 2, os.O_RDONLY, VERSION)
    log.became(2, "e1", LoggedVersion("d/other", "e2", 11))
    assert SessionLog.read(path).files[7].version == LoggedVersion("d/other", "e2", 11)


def test_it_is_the_same_when_it_was_made_anew(log: SessionLog, path: Path, tmp_path: Path) -> None:
    """Each start writes what is left of it in a new file."""
    log.answered(8, [(3, "a"), (4, "b/")])
    state = SessionLog.read(path)
    again = tmp_path / "again"
    SessionLog(again, state).close()
    assert SessionLog.read(again) == state


def test_no_number_is_used_twice(log: SessionLog, path: Path, tmp_path: Path) -> None:
    """A request sent again may name a handle of before; it must not be a new one's."""
    log.closed(8)
    log.forgotten(3)
    for _ in range(2):
        state = SessionLog.read(path)
        assert (state.last_node, state.last_handle) == (3, 8)
        SessionLog(path, state).close()


def test_what_is_made_gets_one_time_however_often_it_is_tried(log: SessionLog, path: Path) -> None:
    """By it, what is found is known for the outcome of an earlier try, or for another's."""
    resend.asked(24)
    time = log.begun()
    successor = SessionLog(path, SessionLog.read(path))
    assert successor.begun_before() is None
    resend.asked(24, again=True)
    assert successor.begun_before() == successor.begun() == time
    resend.asked(26, again=True)
    assert successor.begun_before() is None
    successor.close()


def test_a_stream_goes_on_from_any_entry_of_its_last_two_answers(
    log: SessionLog, path: Path
) -> None:
    """The last answer may not have arrived, and of one that did only a part been used."""
    for start in (0, 10, 20):
        log.answered(8, [(start + 1, f"{start}"), (start + 2, f"{start}/")])
    answers = SessionLog.read(path).directories[8].answers
    assert answers == [[(11, "10"), (12, "10/")], [(21, "20"), (22, "20/")]]


def test_a_torn_line_is_what_nobody_was_told(log: SessionLog, path: Path) -> None:
    """However much of it is there."""
    before = SessionLog.read(path)
    whole = path.read_bytes()
    for torn in (b"n", b"n 9 1 f", b'n 9 1 f "x"'):
        path.write_bytes(whole + torn)
        assert SessionLog.read(path) == before


@given(st.binary(max_size=200), st.integers(0, 10_000))
@example(b"s", 0)
def test_garbage_costs_what_it_hit_and_nothing_else(garbage: bytes, at: int) -> None:
    """Lines that make no sense are left out; reading never fails.

    But what has another version, by garbage or not, is kept aside whole.
    """
    lines = [f'n {number} 1 f "x{number}"' for number in range(2, 40)]
    data = bytearray("".join(f"{line}\n" for line in lines).encode())
    at %= len(data)
    data[at : at + len(garbage)] = garbage
    hit = data.count(b"\n", 0, at), bytes(data[at + len(garbage) :]).count(b"\n")
    with TemporaryDirectory() as directory:
        path = Path(directory, "session.log")
        path.write_bytes(data)
        state = SessionLog.read(path)
        (kept,) = Path(directory).iterdir()
        assert kept.read_bytes() == data
    if kept != path:
        assert data.startswith(b"s ")
        return
    assert {node for node in state.nodes if 2 <= node < 40} >= {
        *range(2, 2 + hit[0]),
        *range(40 - max(0, hit[1] - 1), 40),
    }


def test_damage_is_said_once(log: SessionLog, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the file and how many lines it cost."""
    path.write_bytes(path.read_bytes() + b'm 99 1 "unknown"\nn 5\n\0\0\n')
    SessionLog.read(path)
    (record,) = caplog.records
    assert record.levelname == "ERROR" and record.__dict__["lines"] == 3
    caplog.clear()


def grow(log: SessionLog, first: int = 10) -> None:
    """Say more than a journal keeps, of nodes that are gone but for every thousandth."""
    name = "x" * 200
    for number in range(first, first + 40_000):
        log.made(number, 1, directory=False, name=name)
        if number % 1000:
            log.forgotten(number)


def test_it_is_made_smaller_when_it_has_grown(log: SessionLog, path: Path) -> None:
    """A long life doesn't fill the cache volume, and nothing that is alive is lost of it."""
    before = path.stat().st_ino
    grow(log)
    log.close()
    assert path.stat().st_size < 9 << 20
    assert path.stat().st_ino != before
    assert set(SessionLog.read(path).nodes) == {2, 3, *range(1000, 40_001, 1000)}


def test_nobody_waits_while_it_is_made_smaller(path: Path) -> None:
    """Under the journal's lock no more is copied than the last lines, whatever is alive."""
    copied: list[int] = []

    class Counted(LineFile):
        def part(self, start: int, most: int) -> bytes:
            if owner == [threading.get_ident()]:
                copied.append(most)
            return super().part(start, most)

    owner: list[int] = []

    class Lock:
        def __enter__(self) -> None:
            inner.acquire()
            owner.append(threading.get_ident())

        def __exit__(self, *_: object) -> None:
            owner.clear()
            inner.release()

    inner, lock = threading.Lock(), Lock()
    lines = [f'n {number} 1 f "{"x" * 200}"' for number in range(45_000)]
    file = Counted(path, lines)
    before = path.stat().st_ino
    compaction = Compaction(file, lock, file.lines)
    for number in range(1000):
        with lock:
            file.say(f"f {number}")
            compaction.grown()
    compaction.wait()
    assert path.stat().st_ino != before
    assert sum(copied) <= TAIL_MOST
    assert list(LineFile.read(path)) == lines + [f"f {number}" for number in range(1000)]
    file.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    if os.geteuid():
        pytest.skip("needs the right to mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return disk / "ballast"


def test_a_disk_that_others_fill_is_no_end_yet(small_disk: Path) -> None:
    """Room for thousands of lines was taken ahead."""
    log = SessionLog(small_disk / "log", SessionState())
    log.made(2, 1, directory=False, name="before")
    fill(small_disk)
    for number in range(3, 1000):
        log.made(number, 1, directory=False, name="after")
    assert log.trouble() == ""
    assert len(SessionLog.read(small_disk / "log").nodes) == 998
    log.close()


def test_a_full_disk_keeps_lines_waiting_in_their_order(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody gets an error; the probe says what a restart would cost, until there is room."""
    log = SessionLog(small_disk / "log", SessionState())
    log.made(2, 1, directory=False, name="before")
    ballast = fill(small_disk)
    for number in range(3, 3 + AHEAD // 10):
        log.made(number, 1, directory=False, name="after")
    assert "full" in log.trouble()
    found = sorted(SessionLog.read(small_disk / "log").nodes)
    assert found == [*range(2, 2 + len(found))]
    ballast.unlink()
    assert log.trouble() == ""
    assert len(SessionLog.read(small_disk / "log").nodes) == 1 + AHEAD // 10
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    caplog.clear()
    log.close()


def test_a_start_on_a_full_disk_goes_on_in_the_old_file(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Torn lines are cut off, so that the next ones can be read."""
    path = small_disk / "log"
    file = LineFile(path, ['n 2 1 f "before"'])
    file.close()
    with path.open("ab") as end:
        end.write(b'n 3 1 f "to')
    fill(small_disk)
    log = SessionLog(path, SessionLog.read(path))
    log.made(4, 1, directory=False, name="x")
    assert set(SessionLog.read(path).nodes) == {2, 4}
    log.close()
    caplog.clear()


def test_it_begins_with_its_version(log: SessionLog, path: Path) -> None:
    """Whoever reads it looks there first."""
    assert LineFile.read(path)[0] == "s 1"


def test_a_log_without_a_version_is_read(path: Path) -> None:
    """Release 0.1.0 wrote none."""
    path.write_text('i 5 7\nn 2 1 f "f"\n')
    state = SessionLog.read(path)
    assert (state.last_node, state.nodes) == (5, {2: LoggedNode(1, directory=False, name="f")})


def test_a_log_of_an_unknown_version_is_kept_and_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is taken from it, and the next log doesn't replace it."""
    path.write_text('s 9\nn 2 1 f "f"\n')
    SessionLog(path, SessionLog.read(path)).close()
    assert SessionLog.read(path).nodes == {}
    assert "unknown version" in caplog.text
    (kept,) = path.parent.glob("session.log.unknown-*")
    assert kept.read_text() == 's 9\nn 2 1 f "f"\n'


def test_a_mount_that_begins_replaces_no_log_of_an_unknown_version(path: Path) -> None:
    """It reads nothing of it."""
    path.write_text("s 9\n")
    SessionLog(path, SessionState()).close()
    assert [kept.read_text() for kept in path.parent.glob("session.log.unknown-*")] == ["s 9\n"]


@pytest.mark.parametrize("emptied", [True, False], ids=["emptied", "removed"])
def test_a_log_that_was_removed_goes_on(tmp_path: Path, emptied: bool) -> None:
    """Nothing is lost when it is made anew: in its directory, or without a name as long as it
    lives."""
    path = tmp_path / "cache" / "session.log"
    path.parent.mkdir()
    log = SessionLog(path, SessionState())
    log.made(2, 1, directory=False, name="f")
    shutil.rmtree(path.parent)
    if emptied:
        path.parent.mkdir()
    assert "was removed" in log.trouble()
    with log._lock:
        log._compaction.begin()
    log._compaction.wait()
    log.made(3, 1, directory=False, name="g")
    assert bool(log.trouble()) is not emptied
    assert not emptied or set(SessionLog.read(path).nodes) == {2, 3}
    log.close()
