"""A session over a socket pair, and a mount of the filesystem in memory."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fusefs.kernel import driver
from tests.fusefs.kernel.kernelside import KernelSide
from tests.fusefs.kernel.memory import Memory


@pytest.fixture(autouse=True)
def programs_start_by_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs that a test starts use the mount that the test's process serves.

    Before 3.11.4 Python holds its interpreter lock until a vforked child has executed its program
    (https://github.com/python/cpython/issues/104372): a child that closes a file of the mount, or
    enters a directory of it, would wait for that lock, and Python for the child.
    """
    if sys.version_info < (3, 11, 4):
        monkeypatch.setattr(subprocess, "_USE_VFORK", False)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def kernel(memory: Memory) -> Iterator[KernelSide]:
    """The kernel's end of a session that has been through INIT."""
    side = KernelSide(memory)
    side.init()
    yield side
    side.close()


@pytest.fixture
def mountpoint() -> Iterator[Path]:
    """An empty directory that other users can reach, which `tmp_path` isn't."""
    if not driver.works_here():
        pytest.skip("needs /dev/fuse and the right to mount")
    with tempfile.TemporaryDirectory(prefix="mnt-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def mounted(memory: Memory, mountpoint: Path) -> Iterator[Path]:
    """A directory where `memory` is mounted by the native driver."""
    mount = driver.mount(lambda _: memory, str(mountpoint))
    yield mountpoint
    mount.unmount()
    assert mount.wait(10) is not None
