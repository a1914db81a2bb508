"""The native driver on a real mount of a filesystem in memory."""

import errno
import fcntl
import hashlib
import mmap
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusefs.errors import SetupError
from fusefs.interface import Caller, KnownName
from fusefs.kernel import mountcalls
from fusefs.kernel.readers import Ending
from tests.fusefs.kernel import driver
from tests.fusefs.kernel.memory import Memory
from tests.waiting import until

pytestmark = pytest.mark.mount

MIB = 1 << 20


def names(directory: Path) -> list[str]:
    """List a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def test_content_goes_in_and_out(mounted: Path) -> None:
    """Larger than one request, at odd offsets, through the page cache and around it."""
    content = os.urandom(5 * MIB + 123)
    (mounted / "f").write_bytes(content)
    assert (mounted / "f").read_bytes() == content
    subprocess.run(["cmp", mounted / "f", "-"], input=content, check=True, timeout=20)
    digest = subprocess.run(
        ["dd", f"if={mounted}/f", "iflag=direct", "bs=1M", "status=none"],
        capture_output=True,
        check=True,
        timeout=20,
    ).stdout
    assert hashlib.sha256(digest).digest() == hashlib.sha256(content).digest()


def test_requests_carry_a_mebibyte(mounted: Path, memory: Memory) -> None:
    """max_pages and the read-ahead were raised from 128 KiB."""
    (mounted / "f").write_bytes(os.urandom(16 * MIB))
    assert memory.calls["write"] <= 17
    fd = os.open(mounted / "f", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    memory.calls.clear()
    subprocess.run(["cat", mounted / "f"], stdout=subprocess.DEVNULL, check=True, timeout=20)
    assert memory.calls["read_into"] <= 40


def test_an_append_goes_to_the_end(mounted: Path) -> None:
    """Each write of an O_APPEND descriptor."""
    for part in ("one ", "two ", "three"):
        with (mounted / "log").open("a") as log:
            log.write(part)
    assert (mounted / "log").read_text() == "one two three"


def test_names_are_made_moved_and_removed(mounted: Path) -> None:
    """mkdir, create, rename over, symlink, hard link, rmdir."""
    (mounted / "d/e").mkdir(parents=True)
    (mounted / "d/e/f").write_text("1")
    (mounted / "g").write_text("2")
    (mounted / "g").rename(mounted / "d/e/f")
    (mounted / "link").symlink_to("d/e/f")
    assert (mounted / "link").read_text() == "2"
    os.link(mounted / "d/e/f", mounted / "hard")
    assert (mounted / "hard").stat().st_nlink == 2
    (mounted / "d/e/f").unlink()
    (mounted / "d/e").rmdir()
    assert names(mounted) == ["d", "hard", "link"]


def test_an_errno_arrives_as_it_is(mounted: Path) -> None:
    """ENOTEMPTY, ENOENT, EEXIST, ENAMETOOLONG."""
    (mounted / "d/e").mkdir(parents=True)
    for call, number in (
        (lambda: (mounted / "d").rmdir(), errno.ENOTEMPTY),
        (lambda: (mounted / "no").unlink(), errno.ENOENT),
        (lambda: (mounted / "d").mkdir(), errno.EEXIST),
        (lambda: (mounted / ("x" * 256)).mkdir(), errno.ENAMETOOLONG),
    ):
        with pytest.raises(OSError, match=os.strerror(number)):
            call()


def test_a_large_directory_is_told_whole(mounted: Path, memory: Memory) -> None:
    """5 000 names, and their attributes came with READDIRPLUS."""
    for number in range(5000):
        memory.mkdir(1, f"entry-{number:04}", 0o755, Caller(0, 0))
    expected = {f"entry-{number:04}" for number in range(5000)}
    memory.calls.clear()
    with os.scandir(mounted) as entries:
        assert {entry.name for entry in entries if entry.is_dir()} == expected
    assert set(names(mounted)) == expected
    before = memory.calls["getattr"]
    assert all((mounted / name).stat().st_mode for name in sorted(expected)[:10])
    assert memory.calls["getattr"] == before


def test_an_unlinked_file_lives_while_it_is_open(mounted: Path, memory: Memory) -> None:
    """And its node goes with the last descriptor."""
    with (mounted / "f").open("w+b") as file:
        (mounted / "f").unlink()
        file.write(b"still here")
        file.seek(0)
        assert file.read() == b"still here" and os.fstat(file.fileno()).st_nlink == 0
    deadline = time.monotonic() + 5
    while len(memory.inodes) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(memory.inodes) == [1]


def test_mmap_reads_and_writes(mounted: Path) -> None:
    """msync and close bring shared pages back.

    In a process of its own: a page fault here would wait with the interpreter's lock for a server
    that needs it.
    """
    (mounted / "f").write_bytes(bytes(3 * mmap.PAGESIZE))
    script = (
        "import mmap,sys; file = open(sys.argv[1], 'r+b'); pages = mmap.mmap(file.fileno(), 0)\n"
        "pages[5000:5005] = b'hello'; pages.flush(); assert pages[4999:5006] == b'\\0hello\\0'"
    )
    subprocess.run([sys.executable, "-c", script, mounted / "f"], check=True, timeout=20)
    assert (mounted / "f").read_bytes()[5000:5005] == b"hello"


def test_locks_hold_within_the_mount(mounted: Path) -> None:
    """flock and fcntl locks stay in the kernel: no request is made for them."""
    file = mounted / "lock"
    file.touch()
    holder = os.open(file, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    fcntl.lockf(holder, fcntl.LOCK_EX)
    check = (
        "import fcntl,os,sys; fd=os.open(sys.argv[1],os.O_RDWR); failed=0\n"
        "for lock in (fcntl.flock, fcntl.lockf):\n"
        "    try: lock(fd, fcntl.LOCK_EX|fcntl.LOCK_NB)\n"
        "    except BlockingIOError: failed += 1\n"
        "sys.exit(failed)"
    )
    locked = subprocess.run([sys.executable, "-c", check, file], check=False, timeout=20)
    os.close(holder)
    free = subprocess.run([sys.executable, "-c", check, file], check=False, timeout=20)
    assert (locked.returncode, free.returncode) == (2, 0)


def test_ranges_are_copied_inside(mounted: Path, memory: Memory) -> None:
    """copy_file_range moves no byte through the kernel."""
    (mounted / "f").write_bytes(b"0123456789" * 1000)
    memory.calls.clear()
    with (mounted / "f").open("rb") as source, (mounted / "g").open("wb") as target:
        assert os.copy_file_range(source.fileno(), target.fileno(), 5000, 10, 0) == 5000
    assert (mounted / "g").read_bytes() == b"0123456789" * 500
    assert memory.calls["copy_range"] == 1


def test_holes_and_space_are_asked_for(mounted: Path) -> None:
    """lseek SEEK_HOLE and SEEK_DATA, fallocate, ENXIO past the end."""
    with (mounted / "f").open("w+b") as file:
        os.posix_fallocate(file.fileno(), 0, 4096)
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 4096
        assert os.lseek(file.fileno(), 9, os.SEEK_DATA) == 9
        with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
            os.lseek(file.fileno(), 9999, os.SEEK_DATA)


def test_xattrs_and_times_are_kept(mounted: Path) -> None:
    """Nanoseconds and all."""
    file = mounted / "f"
    file.touch()
    os.setxattr(file, "user.a", b"value\0with NUL")
    assert os.getxattr(file, "user.a") == b"value\0with NUL" and os.listxattr(file) == ["user.a"]
    os.removexattr(file, "user.a")
    os.utime(file, ns=(1_000_000_001, -5))
    status = file.stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, -5)


def test_o_trunc_is_part_of_open(mounted: Path, memory: Memory) -> None:
    """Atomic: no SETATTR between open and truncation."""
    (mounted / "f").write_bytes(b"content")
    memory.calls.clear()
    os.close(os.open(mounted / "f", os.O_WRONLY | os.O_TRUNC))
    assert (mounted / "f").stat().st_size == 0 and memory.calls["setattr"] == 0


def test_a_set_user_id_bit_goes_when_others_write(mounted: Path) -> None:
    """A caller without CAP_FSETID."""
    file = mounted / "f"
    file.write_bytes(b"x")
    file.chmod(0o4777)
    subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", 'echo y >> "$0"', file],
        check=True,
        timeout=20,
    )
    assert file.stat().st_mode & 0o7777 == 0o777


def test_permissions_are_checked_by_mode_and_owner(mounted: Path) -> None:
    """default_permissions: the kernel refuses before we are asked."""
    (mounted / "secret").write_text("s")
    (mounted / "secret").chmod(0o600)
    (mounted / "open").write_text("o")
    command = ["setpriv", "--reuid=65534", "--clear-groups", "cat", "open", "secret"]
    result = subprocess.run(
        command, cwd=mounted, capture_output=True, text=True, check=False, timeout=20
    )
    assert result.stdout == "o" and "secret: Permission denied" in result.stderr


def test_64_threads_write_and_read(mounted: Path) -> None:
    """Each its own files, none sees another's bytes."""

    def work(number: int) -> bool:
        content = bytes([number]) * (100_000 + number)
        for turn in range(3):
            file = mounted / f"{number}-{turn}"
            file.write_bytes(content)
            if file.read_bytes() != content:
                return False
        return True

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(work, range(64)))
    assert len(names(mounted)) == 192


def test_a_slow_call_does_not_hold_up_the_others(mounted: Path, memory: Memory) -> None:
    """A file that waits for S3 leaves the rest of the mount usable."""
    (mounted / "slow").write_bytes(b"x")
    gate = memory.gates["fsync"] = threading.Event()
    waiting = subprocess.Popen(["sync", mounted / "slow"])
    assert (mounted / "slow").read_bytes() == b"x"
    assert waiting.poll() is None
    gate.set()
    assert waiting.wait(10) == 0


def test_changes_from_outside_are_seen_after_an_invalidation(mountpoint: Path) -> None:
    """Attributes, content and names that the kernel would trust for an hour."""
    memory = Memory(ttl=3600.0)
    mount = driver.mount(lambda _: memory, str(mountpoint))
    try:
        (mountpoint / "f").write_bytes(b"old")
        assert (mountpoint / "f").read_bytes() == b"old"
        node = memory.inodes[1].children["f"]
        memory.inodes[node].content[:] = b"newer"
        mount.invalidations.node_changed(node)
        until(lambda: (mountpoint / "f").read_bytes() == b"newer")
        del memory.inodes[1].children["f"]
        mount.invalidations.entry_changed(1, "f")
        until(lambda: not (mountpoint / "f").exists())
    finally:
        mount.unmount()
        mount.wait(10)


@pytest.mark.parametrize("prunes", [True, False])
def test_nodes_that_nobody_uses_are_given_back_when_they_are_asked_for(
    mountpoint: Path, prunes: bool
) -> None:
    """What is open, and where somebody works, stays; Linux before 6.18 is asked by name."""
    memory = Memory(ttl=3600.0)
    mount = driver.mount(lambda _: memory, str(mountpoint))
    mount.invalidations._prunes &= prunes  # type: ignore[attr-defined]  # as an older kernel makes it
    for name in ("a", "b", "open"):
        (mountpoint / name).write_bytes(b"x")
    (mountpoint / "work").mkdir()
    worker = subprocess.Popen(["cat"], cwd=mountpoint / "work", stdin=subprocess.PIPE)
    nodes = dict(memory.inodes[1].children)
    try:
        with (mountpoint / "open").open():
            mount.invalidations.unneeded(
                [
                    KnownName(node, 1, name, name == "work")
                    for name, node in nodes.items()
                    if prunes or name != "open"
                ]
            )
            until(lambda: not memory.lookups[nodes["a"]] and not memory.lookups[nodes["b"]])
            assert Path(f"/proc/{worker.pid}/cwd").readlink() == mountpoint / "work"
            assert memory.lookups[nodes["open"]] and memory.lookups[nodes["work"]]
        assert (mountpoint / "a").read_bytes() == b"x"
    finally:
        worker.communicate(timeout=10)
        mount.unmount()
        mount.wait(10)


def test_an_invalidation_during_a_read_of_the_node_does_not_deadlock(mountpoint: Path) -> None:
    """The kernel waits for the locked page, the page for our answer, and we for nobody."""
    memory = Memory()
    node = memory.mknod(1, "f", 0o100644, 0, Caller(0, 0)).node
    memory.inodes[node].content.extend(b"x" * 5000)
    mount = driver.mount(lambda _: memory, str(mountpoint))
    gate = memory.gates["read_into"] = threading.Event()
    reader = subprocess.Popen(["cat", mountpoint / "f"], stdout=subprocess.PIPE)
    until(lambda: memory.calls["read_into"] > 0)
    mount.invalidations.node_changed(node)
    assert names(mountpoint) == ["f"]
    gate.set()
    assert len(reader.communicate(timeout=10)[0]) == 5000
    mount.unmount()
    assert mount.wait(10) is Ending.UNMOUNTED


def test_threads_and_descriptors_go_back_to_what_they_were(mountpoint: Path) -> None:
    """After work with many threads, unmounting leaves nothing behind."""
    threads, before = set(threading.enumerate()), len(names(Path("/proc/self/fd")))
    memory = Memory()
    mount = driver.mount(lambda _: memory, str(mountpoint))
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: (mountpoint / f"{n}").write_bytes(b"x"), range(200)))
    mount.unmount()
    assert mount.wait(10) is Ending.UNMOUNTED
    # Threads of earlier tests may end meanwhile; none of ours may be left.
    assert set(threading.enumerate()) - threads == set()
    assert len(names(Path("/proc/self/fd"))) == before
    assert not memory.handles


def test_a_read_only_mount_refuses_writes(mountpoint: Path) -> None:
    """EROFS from the kernel itself."""
    mount = driver.mount(lambda _: Memory(), str(mountpoint), read_only=True)
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            (mountpoint / "f").touch()
    finally:
        mount.unmount()
        mount.wait(10)


def test_a_mountpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    """One line for the user, and no descriptor kept."""
    before = len(names(Path("/proc/self/fd")))
    with pytest.raises(SetupError, match="nowhere: No such file or directory"):
        driver.mount(lambda _: Memory(), str(tmp_path / "nowhere"))
    assert len(names(Path("/proc/self/fd"))) == before


def test_stale_mounts_are_found_and_taken_away(tmp_path: Path) -> None:
    """Whoever served them is dead, and even stat(2) would fail or hang."""
    mountpoint = tmp_path / "a b"
    mountpoint.mkdir()
    device = mountcalls.open_device()
    mountcalls.mount(device, str(mountpoint), read_only=False, allow_other=True)
    assert str(mountpoint) in {path for path, _ in mountcalls.fuse_mounts()}
    assert mountcalls.unmount_stale(str(tmp_path)) == [str(mountpoint)]
    os.close(device)
    assert names(mountpoint) == []


def test_an_abort_in_the_middle_of_a_read_ends_the_session(mountpoint: Path) -> None:
    """The application gets an error, the session ends as aborted, nothing hangs."""
    memory = Memory()
    mount = driver.mount(lambda _: memory, str(mountpoint))
    (mountpoint / "f").write_bytes(b"x" * 5000)
    gate = memory.gates["flush"] = threading.Event()
    waiting = subprocess.Popen(["cp", "/dev/null", mountpoint / "g"], stderr=subprocess.PIPE)
    until(lambda: memory.calls["flush"] > 1)
    mountcalls.unmount(str(mountpoint), abort=True)
    assert waiting.wait(10) != 0 and waiting.communicate()[1]
    gate.set()
    assert mount.wait(10) in set(Ending)
