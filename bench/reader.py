"""What reading costs on top of moving the bytes: `python -m bench.reader [MiB] [--latency MS]`.

Reads one object in 1 MiB pieces through `ObjectVersion.read_into`, from a store that copies out of
memory, and compares with plain operations on the same bytes: memcpy, pread of the same file, and a
new file written, read and removed. Each number is the best of three, in GB/s, with its ratio.

Not here: networks, FUSE, boto3; `bench` compares whole mounts elsewhere.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fusefs.cache.cache import Cache
from fusefs.disk.space import Space
from fusefs.read.reader import ObjectVersion, Reader, ReadLimits

MiB = 1024 * 1024
CHUNK = 256 * 1024


class Memory:
    """A store that copies out of memory, in the chunks a socket would bring, after a round trip."""

    def __init__(self, content: bytes, latency: float) -> None:
        self.content = memoryview(content)
        self.latency = latency
        self.gets = 0

    def get_into(
        self, key: str, etag: str, offset: int, view: memoryview, arrived: Callable[[int], None]
    ) -> None:
        self.gets += 1
        time.sleep(self.latency)
        for at in range(0, len(view), CHUNK):
            stop = min(at + CHUNK, len(view))
            view[at:stop] = self.content[offset + at : offset + stop]
            arrived(stop)


def best(run: Callable[[], None], size: int) -> float:
    """Return GB/s of the best of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return size / min(times) / 1e9


def show(name: str, rate: float, base: float) -> None:
    sys.stdout.write(f"{name:<46} {rate:7.2f} GB/s {rate / base:6.2f} x plain\n")


def through(content: ObjectVersion, step: int = MiB) -> None:
    stream, view = content.stream(), memoryview(bytearray(step))
    for offset in range(0, content.size, step):
        content.read_into(offset, view, stream)


class Bench:
    """One object of `size` bytes, read in the ways that matter."""

    def __init__(self, root: Path, size: int, latency: float) -> None:
        self.root = root
        self.size = size
        self.data = os.urandom(size)
        self.store = Memory(self.data, latency)
        self.version = 0

    def reader(self, room: int) -> tuple[Reader, Cache]:
        self.version += 1
        root = self.root / f"c{self.version}"
        cache = Cache(root, Space(self.root, room, 0))
        return Reader(self.store, cache, ReadLimits()), cache

    def cold(self, room: int) -> None:
        reader, cache = self.reader(room)
        content = reader.open("k", "e", self.size)
        through(content)
        content.close()
        reader.close()
        cache.drop("k")
        cache.close()

    def memcpy(self) -> None:
        view, source = memoryview(bytearray(MiB)), memoryview(self.data)
        for offset in range(0, self.size, MiB):
            view[:] = source[offset : offset + MiB]

    def new_file(self) -> None:
        """What a cold read can't do without: copy in, write out, read back, remove."""
        view, source = memoryview(bytearray(MiB)), memoryview(self.data)
        path = self.root / "plain"
        with path.open("w+b", buffering=0) as file:
            for offset in range(0, self.size, MiB):
                view[:] = source[offset : offset + MiB]
                os.pwrite(file.fileno(), view, offset)
                os.preadv(file.fileno(), [view], offset)
        path.unlink()

    def pread(self, path: Path) -> None:
        view = memoryview(bytearray(MiB))
        with path.open("rb", buffering=0) as file:
            for offset in range(0, self.size, MiB):
                os.preadv(file.fileno(), [view], offset)

    def warm(self) -> None:
        reader, cache = self.reader(2 * self.size)
        content = reader.open("k", "e", self.size)
        through(content)
        while content.pending:
            time.sleep(0.01)
        path = next(cache.root.rglob("*.data"))
        plain = best(lambda: self.pread(path), self.size)
        show("pread, 1 MiB", plain, plain)
        show("warm, 1 MiB", best(lambda: through(content), self.size), plain)
        show("warm, 128 KiB", best(lambda: through(content, MiB // 8), self.size), plain)
        with ThreadPoolExecutor(4) as pool:
            run = lambda: list(pool.map(through, [content] * 4))  # noqa: E731 - timed as it is
            show("warm, 1 MiB, 4 threads", best(lambda: run() and None, 4 * self.size), plain)
        content.close()
        reader.close()
        cache.close()
        start = time.perf_counter()
        cache = Cache(cache.root, Space(self.root, 2 * self.size, 0))
        reader = Reader(self.store, cache, ReadLimits())
        content = reader.open("k", "e", self.size)
        through(content)
        show("first read after a restart", self.size / (time.perf_counter() - start) / 1e9, plain)
        content.close()
        reader.close()
        cache.close()

    def run(self) -> None:
        copy, file = best(self.memcpy, self.size), best(self.new_file, self.size)
        show("memcpy, 1 MiB", copy, copy)
        show("memcpy, pwrite to a new file, pread, unlink", file, file)
        show("cold, into the disk cache", best(lambda: self.cold(2 * self.size), self.size), file)
        show("cold, no room on disk", best(lambda: self.cold(0), self.size), copy)
        self.warm()
        sys.stdout.write(f"{self.store.gets} GETs\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", nargs="?", type=int, default=256, help="MiB (256)")
    parser.add_argument("--latency", type=float, default=0.0, help="round trip of a GET in ms (0)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        Bench(Path(root), arguments.size * MiB, arguments.latency / 1000).run()


if __name__ == "__main__":
    main()
