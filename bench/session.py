"""What the native driver itself costs: a filesystem in memory against plain files.

    python -m bench.session [MIB]

Needs root and /dev/fuse. The server runs in a process of its own, as it does in a pod, the client
here. Each line: the rate on the mount, the same on the temp directory's disk, and the ratio. The
mount is asked each time (no caching of data, attributes or names), the disk answers from memory.
"""

import mmap
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fusefs.interface import Caller
from fusefs.kernel import mountcalls
from tests.fusefs.kernel import driver
from tests.fusefs.kernel.memory import Memory

MIB = 1 << 20
NAMES = 2000


def serve(mountpoint: str, size: int) -> None:
    """Serve a directory with one large file and many small ones until it is unmounted."""
    memory = Memory(ttl=0.0)
    large = memory.mknod(1, "large", 0o100644, 0, Caller(0, 0)).node
    memory.inodes[large].content.extend(os.urandom(MIB) * (size // MIB))
    for number in range(NAMES):
        memory.mknod(1, f"{number}", 0o100644, 0, Caller(0, 0))
    driver.mount(lambda _: memory, mountpoint).wait()


def fill(directory: Path, size: int) -> None:
    """Make the same files on a plain disk."""
    (directory / "large").write_bytes(os.urandom(MIB) * (size // MIB))
    for number in range(NAMES):
        (directory / f"{number}").touch()


def read(directory: Path, flags: int = 0) -> int:
    """Read the large file in 1 MiB steps; return its MiB."""
    descriptor = os.open(directory / "large", os.O_RDONLY | flags)
    if directory.name == "mount":
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    total, buffer = 0, mmap.mmap(-1, MIB)
    while size := os.readv(descriptor, [buffer]):
        total += size
    os.close(descriptor)
    return total // MIB


def read_directly(directory: Path) -> int:
    """Read around the page cache of the mount; the disk may answer from its own."""
    return read(directory, os.O_DIRECT if directory.name == "mount" else 0)


def write(directory: Path) -> int:
    """Write 64 MiB in 1 MiB steps; return the MiB."""
    content = os.urandom(MIB)
    with (directory / "written").open("wb", buffering=0) as file:
        return sum(file.write(content) for _ in range(64)) // MIB


def stat_all(directory: Path) -> int:
    """Look at every small file; return their number."""
    for number in range(NAMES):
        os.stat(directory / f"{number}")  # noqa: PTH116 - Path.stat costs as much as the request
    return NAMES


def make_and_remove(directory: Path) -> int:
    """Create, write, close and unlink files; return their number."""
    for number in range(NAMES // 4):
        path = directory / f"new-{number}"
        path.write_bytes(b"x" * 100)
        path.unlink()
    return NAMES // 4


def list_all(directory: Path) -> int:
    """List the directory ten times; return the number of names seen."""
    return sum(len(os.listdir(directory)) for _ in range(10))  # noqa: PTH208 - likewise


def rate(work: Callable[[Path], int], directory: Path) -> float:
    """Return the best rate of three runs, per second."""
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        done = work(directory)
        rates.append(done / (time.perf_counter() - began))
    return max(rates)


def main() -> None:
    """Print the table."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 256) * MIB
    with tempfile.TemporaryDirectory() as scratch:
        mountpoint, plain = Path(scratch) / "mount", Path(scratch) / "plain"
        mountpoint.mkdir()
        plain.mkdir()
        fill(plain, size)
        server = multiprocessing.Process(target=serve, args=(str(mountpoint), size))
        server.start()
        while str(mountpoint) not in {path for path, _ in mountcalls.fuse_mounts()}:
            time.sleep(0.05)
        try:
            for unit, work in (
                ("MiB/s", read),
                ("MiB/s", read_directly),
                ("MiB/s", write),
                ("files/s", stat_all),
                ("files/s", make_and_remove),
                ("names/s", list_all),
            ):
                here, there = rate(work, mountpoint), rate(work, plain)
                print(f"{work.__name__:16}{here:10.0f}{there:10.0f} {unit:8}{here / there:6.2f}")
        finally:
            mountcalls.unmount(str(mountpoint))
            server.join()


if __name__ == "__main__":
    main()
