"""Whole mounts side by side: ours, s3fs and rclone on one server: `python -m bench.peers [MiB]`.

Each does the same work on its own bucket of the same SeaweedFS, one after the other, as root. A row
shows seconds, and in brackets how many times as long as ours that is. With a store on the same
machine and a few cores, all of them share the processor with it: read the ratios, not the seconds.
rclone uploads behind the back of `close` and `fsync`, so its times for writing are of a disk.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.mounts.mount import Mount
from tests.mounts.ours import Directories, OurMount, environment
from tests.mounts.s3fs import S3fsMount
from tests.servers.program import program
from tests.servers.s3 import Bucket, Endpoint
from tests.servers.seaweed import SeaweedServer

MIB = 1 << 20
FILES = 300
Work = Callable[[Path], object]


class RcloneMount(Mount):
    """A bucket mounted by rclone, with the cache mode that allows all kinds of writing."""

    def __init__(self, bucket: str, where: Directories, endpoint: Endpoint) -> None:
        keys = endpoint.credentials
        remote = (
            f":s3,provider=SeaweedFS,endpoint='{endpoint.url}',access_key_id={keys.access_key},"
            f"secret_access_key={keys.secret_key},force_path_style=true:{bucket}"
        )
        command: list[str | Path] = [program("rclone"), "mount", remote, where.path]
        command += [
            "--vfs-cache-mode",
            "full",
            "--vfs-write-back",
            "0s",
            "--cache-dir",
            where.cache,
        ]
        super().__init__(command, where.path, where.output, environment(endpoint, where.root))


def mounted(name: str, bucket: Bucket, root: Path) -> Mount:
    """Mount a bucket by one of the competitors."""
    where = Directories(root)
    endpoint = bucket.endpoint
    if name == "s3fs":
        mount: Mount = S3fsMount(
            bucket.name, where, endpoint, ["max_stat_cache_size=100000", f"use_cache={where.cache}"]
        )
    elif name == "rclone":
        mount = RcloneMount(bucket.name, where, endpoint)
    else:
        mount = OurMount(bucket.name, where, endpoint, "native")
    mount.wait_ready()
    return mount


def read(path: Path) -> None:
    """Read a file from one end to the other."""
    with path.open("rb", buffering=0) as file:
        while file.read(MIB):
            pass


def write(path: Path, size: int) -> None:
    """Write a file; it is in the store when this returns."""
    with path.open("wb", buffering=0) as file:
        for _ in range(size // MIB):
            file.write(os.urandom(1024) * 1024)
        os.fsync(file.fileno())


def small(path: Path) -> None:
    """Make many small files."""
    path.mkdir()
    for number in range(FILES):
        (path / f"{number:04}").write_bytes(b"x" * 1000)


def look(path: Path) -> None:
    """Look at each file of a directory as `ls -l` does."""
    for entry in os.scandir(path):
        entry.stat()


def edit(path: Path) -> None:
    """Change a few bytes in the middle of a large file."""
    with path.open("rb+", buffering=0) as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"edited")
        os.fsync(file.fileno())


def works(size: int) -> list[tuple[str, Work]]:
    """Return what is measured, in this order."""
    return [
        (f"read {size >> 20} MiB, cold", lambda root: read(root / "large")),
        ("read it again", lambda root: read(root / "large")),
        (f"write {size >> 20} MiB and fsync", lambda root: write(root / "written", size)),
        ("change 6 bytes of it and fsync", lambda root: edit(root / "written")),
        ("list 1 000 names, cold", lambda root: list((root / "many").iterdir())),
        ("stat each of them, cold", lambda root: look(root / "many")),
        (f"create {FILES} files", lambda root: small(root / "new")),
        ("rename their directory", lambda root: (root / "new").rename(root / "moved")),
        ("remove them", lambda root: shutil.rmtree(root / "moved")),
    ]


def measure(name: str, server: SeaweedServer, size: int) -> list[float | None]:
    """Return the seconds of each work, None where it failed."""
    bucket = server.endpoint.create_bucket(f"peer-{name}")
    bucket.put("large", os.urandom(1024) * (size // 1024))
    bucket.put_many((f"many/{number:04}" for number in range(1000)), b"x" * 100)
    took: list[float | None] = []
    with tempfile.TemporaryDirectory(prefix="s3mount-bench-") as root:
        mount = mounted(name, bucket, Path(root))
        try:
            for label, work in works(size):
                subprocess.run(["sync"], check=True)
                began = time.perf_counter()
                try:
                    work(mount.path)
                except OSError as error:
                    sys.stderr.write(f"{name}: {label}: {error}\n")
                    took.append(None)
                else:
                    took.append(time.perf_counter() - began)
        finally:
            mount.release()
    bucket.destroy()
    return took


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mib", nargs="?", type=int, default=256)
    size = parser.parse_args().mib * MIB
    names = ["ours", "s3fs", "rclone"]
    with SeaweedServer() as server:
        results = {name: measure(name, server, size) for name in names}
    sys.stdout.write(f"{'':36}" + "".join(f"{name:>18}" for name in names) + "\n")
    for row, (label, _) in enumerate(works(size)):
        ours = results["ours"][row]
        cells = [_cell(results[name][row], ours) for name in names]
        sys.stdout.write(f"{label:36}" + "".join(f"{cell:>18}" for cell in cells) + "\n")
    return 0


def _cell(seconds: float | None, ours: float | None) -> str:
    if seconds is None:
        return "failed"
    return f"{seconds:.2f} s ({seconds / ours:.1f} x)" if ours else f"{seconds:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
