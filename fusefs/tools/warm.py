"""`fusefs warm PATH…`: read files of a mount once, so that its cache has them beforehand.

It reads through the mount as any program would, a few files at a time, so limits and evictions are
the mount's own: what doesn't fit drives out what was read before. Threads read, the main thread
shows.
"""

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from fusefs.errors import SetupError
from fusefs.tools.place import SettingsOf
from fusefs.tools.screen import Screen, duration, plural, size

PIECE = 4 << 20  # bytes of one read: what a mount reads ahead of a sequential reader
LOOK_SECONDS = 0.2


@dataclass
class Reading:
    """What was read so far; each thread adds to it in one step."""

    done: list[int] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    stopped: bool = False  # the main thread was interrupted: read no further

    def below(self, path: Path) -> Iterator[tuple[Path, int]]:
        """Yield the files at and below a path, each with its size; SetupError if there's nothing.

        What can't be listed or looked at is noted as failed.
        """
        if not path.exists():
            raise SetupError(f"{path} isn't there: give paths below the mountpoint of a mount")
        yield from self._looked_at(path)
        if not path.is_dir():
            return
        for folder, _, names in os.walk(path, onerror=self._refused):
            for name in sorted(names):
                yield from self._looked_at(Path(folder, name))

    def _looked_at(self, path: Path) -> Iterator[tuple[Path, int]]:
        try:
            if path.is_file():
                yield path, path.stat().st_size
        except OSError as error:
            self._refused(error)

    def _refused(self, error: OSError) -> None:
        self.failed.append((Path(error.filename), error.strerror or str(error)))

    def read(self, path: Path) -> None:
        """Read a file to its end."""
        try:
            with path.open("rb", buffering=0) as file:
                while not self.stopped and (piece := file.read(PIECE)):
                    self.done.append(len(piece))
        except OSError as error:
            self.failed.append((path, error.strerror or str(error)))


class WarmCommand:
    """The command and its options."""

    name = "warm"
    help = "read files of a mount once, so that they are in its cache"

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
        parser.add_argument("--parallel", type=int, default=4, help="files at a time (default 4)")

    def run(self, args: argparse.Namespace, _: SettingsOf, screen: Screen) -> int:
        """Read it all; return 1 if a file couldn't be read."""
        if args.parallel < 1:
            raise SetupError(f"--parallel must be at least 1, not {args.parallel}")
        reading = Reading()
        files = [found for path in args.paths for found in reading.below(path)]
        total = sum(length for _, length in files)
        began = time.monotonic()
        with (
            ThreadPoolExecutor(args.parallel) as pool,
            screen.progress("warming", total) as shown,
        ):
            left = {pool.submit(reading.read, path) for path, _ in files}
            try:
                while left:
                    left = wait(left, LOOK_SECONDS).not_done
                    shown(sum(reading.done))
            except KeyboardInterrupt:
                reading.stopped = True
                pool.shutdown(cancel_futures=True)
                raise
        _print(screen, len(files), reading, time.monotonic() - began)
        return 1 if reading.failed else 0


def _print(screen: Screen, files: int, reading: Reading, seconds: float) -> None:
    done = sum(reading.done)
    rate = done / seconds if seconds else 0.0
    screen.line(
        f"{plural(files, 'file')}, {size(done)} in {duration(seconds)}, {size(rate)}/s,"
        f" {len(reading.failed)} failed"
    )
    for path, why in reading.failed:
        screen.line(f"  {path}: {why}")
    if screen.as_json:
        failed = {str(path): why for path, why in reading.failed}
        screen.document({"files": files, "bytes": done, "seconds": seconds, "failed": failed})
