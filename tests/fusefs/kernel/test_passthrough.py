"""Passthrough on a real mount: the kernel reads the cache file itself."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.interface import Caller
from fusefs.kernel.negotiation import Wishes
from fusefs.kernel.session import SessionSettings
from tests.fusefs.kernel import driver
from tests.fusefs.kernel.memory import Memory

pytestmark = pytest.mark.mount

# On a plain disk: the kernel refuses stacked filesystems, which the temp directory may be.
CONTENT = os.urandom(1 << 20)


@pytest.fixture
def cache_file() -> Iterator[int]:
    """A cache file that holds all of `f`."""
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        yield file.fileno()


@pytest.fixture
def through(memory: Memory, mountpoint: Path, cache_file: int) -> Iterator[Path]:
    """A mount with passthrough, and on it a file `f` whose cache file is whole."""
    node = memory.mknod(1, "f", 0o100644, 0, Caller(0, 0)).node
    memory.inodes[node].content[:] = CONTENT
    memory.inodes[node].whole_fd = cache_file
    settings = SessionSettings(wishes=Wishes(passthrough=True))
    mount = driver.mount(lambda _: memory, str(mountpoint), settings)
    (mountpoint / "f").read_bytes()
    if memory.calls["read_into"]:
        memory.calls.clear()
        mount.unmount()
        mount.wait(10)
        pytest.skip("this kernel or disk has no passthrough")
    yield mountpoint
    mount.unmount()
    assert mount.wait(10) is not None


def test_reads_do_not_reach_us(through: Path, memory: Memory) -> None:
    """Neither read(2) nor mmap."""
    assert (through / "f").read_bytes() == CONTENT
    script = "import mmap,sys; f=open(sys.argv[1],'rb'); mmap.mmap(f.fileno(),0,prot=1)[-1:]"
    subprocess.run(["python3", "-c", script, through / "f"], check=True, timeout=20)
    assert memory.calls["read_into"] == 0


def test_a_writer_beside_a_reader_sees_no_error(through: Path, memory: Memory) -> None:
    """The kernel's EIO is kept away: the writer's open goes to another id of the same node."""
    with (through / "f").open("rb") as reader:
        assert reader.read(10) == CONTENT[:10]
        with (through / "f").open("r+b") as writer:
            writer.write(b"changed")
        memory.inodes[memory.inodes[1].children["f"]].whole_fd = -1
        assert (through / "f").read_bytes()[:7] == b"changed"
        assert reader.read(10) == CONTENT[10:20]
    assert (through / "f").read_bytes()[:7] == b"changed"
    assert (through / "f").stat().st_ino == memory.inodes[1].children["f"]


def test_a_newer_version_beside_a_reader_is_read(through: Path, memory: Memory) -> None:
    """The old reader keeps its version, the new one gets the new cache file."""
    inode = memory.inodes[memory.inodes[1].children["f"]]
    with (through / "f").open("rb") as reader, tempfile.TemporaryFile() as newer:
        newer.write(b"N" * len(CONTENT))
        newer.flush()
        inode.whole_fd = newer.fileno()
        assert (through / "f").read_bytes() == b"N" * len(CONTENT)
        assert reader.read() == CONTENT
    assert memory.calls["read_into"] == 0


def test_appending_truncating_and_renaming_beside_a_reader(through: Path, memory: Memory) -> None:
    """Whatever opens for writing: shells, O_TRUNC, rename over it."""
    with (through / "f").open("rb"):
        memory.inodes[memory.inodes[1].children["f"]].whole_fd = -1
        for script in ("echo x >> f", "echo y > f", "cp f g; mv g f", "sed -i s/y/z/ f"):
            subprocess.run(["sh", "-c", script], cwd=through, check=True, timeout=20)
    assert (through / "f").read_text() == "z\n"


def test_many_readers_and_writers_at_once(through: Path, memory: Memory) -> None:
    """Opens in both modes race; none of them fails."""
    script = (
        "for i in $(seq 30); do cat f > /dev/null || exit 1; done & one=$!; "
        "for i in $(seq 30); do cat f > /dev/null || exit 1; done & two=$!; "
        "for i in $(seq 15); do printf x | dd of=f conv=notrunc status=none || exit 1; done; "
        "wait $one && wait $two"
    )
    result = subprocess.run(
        ["bash", "-c", script], cwd=through, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
