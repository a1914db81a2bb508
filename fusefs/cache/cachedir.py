"""The directory of the content cache: its lock, its contents, names for new files.

    ROOT/lock                       flock: one process per cache
    ROOT/format                     number of the layout; another number empties the cache
    ROOT/content/NAME.SERIAL.data   the bytes of a version (sparse)
    ROOT/content/NAME.SERIAL.index  which blocks, and their CRC32 (see `blockindex`)
    ROOT/content/slab.SERIAL.slab   many versions of one block at most (see `slab`)

NAME is made of hashes of key and ETag (`blockindex.Identity`); SERIAL distinguishes two files of
one version, so that files being removed never clash with their successor. Listing opens no pair: it
is opened when it is first used. Releases without slabs remove them as files that aren't theirs.

Threading: `pair` from any thread; the rest is called at start and end only.
"""

import fcntl
import itertools
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fusefs.cache.blockfile import Pair
from fusefs.cache.blockindex import FORMAT
from fusefs.cache.place import DiskPlace
from fusefs.cache.slab import FILE as SLAB
from fusefs.cache.slab import Slabs
from fusefs.cache.slot import SlabSlot
from fusefs.errors import SetupError

log = logging.getLogger(__name__)

# Seconds to wait: a killed predecessor holds its lock until the kernel has ended the process.
LOCK_SECONDS = 5.0
_STEM = re.compile(r"([0-9a-f]{32}-[0-9a-f]{24})\.([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Found:
    """A version that a former process left; `held` is its disk space in bytes."""

    name: str
    place: DiskPlace
    serial: int
    held: int
    used_at: float


class CacheDir:
    """The cache directory `root`, owned by this process until `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content = root / "content"
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _claim(root)
        except OSError as error:
            raise SetupError(f"cache directory {root} can't be used: {error}") from error
        self._serials = itertools.count()

    def found(self, slabs: Slabs) -> list[Found]:
        """Return usable versions, least recently used first, and remove the rest."""
        try:
            self._check_format()
            with os.scandir(self.content) as entries:
                stats = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
            serials = {name: int(match[1], 16) for name in stats if (match := SLAB.fullmatch(name))}
            pairs = self._pairs({name: stats[name] for name in stats if name not in serials})
        except OSError as error:
            raise SetupError(f"cache directory {self.root} can't be used: {error}") from error
        every = [*pairs, *self._slots(slabs, serials)]
        latest: dict[str, Found] = {}
        for found in sorted(every, key=lambda found: found.serial):
            former = latest.get(found.name)
            if former is not None:
                former.place.remove()
            latest[found.name] = found
        used = (found.serial for found in every)
        self._serials = itertools.count(max((0, *used, *serials.values())) + 1)
        return sorted(latest.values(), key=lambda found: found.used_at)

    def stem(self, name: str) -> str:
        """Return what the names of a version's files begin with; it was not used before."""
        return f"{name}.{next(self._serials):x}"

    def pair(self, name: str) -> Pair:
        """Return paths that were not used before."""
        return Pair(str(self.content), self.stem(name))

    def slab(self) -> tuple[str, int]:
        """Return the path of another slab, and its serial."""
        serial = next(self._serials)
        return f"{self.content}/slab.{serial:x}.slab", serial

    def close(self) -> None:
        """Let another process have the directory."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _check_format(self) -> None:
        mark = self.root / "format"
        known = mark.read_text().strip() if mark.exists() else ""
        if known != str(FORMAT):
            if self.content.exists():
                log.warning("cache in %s has format %r, emptied", self.root, known)
                shutil.rmtree(self.content)
            mark.write_text(f"{FORMAT}\n")
        self.content.mkdir(exist_ok=True)

    def _slots(self, slabs: Slabs, serials: dict[str, int]) -> Iterator[Found]:
        for name, serial in serials.items():
            for slab, number, entry, used in slabs.found(f"{self.content}/{name}", serial):
                slot = SlabSlot.found(slabs, slab, number, entry, used)
                yield Found(entry.name, slot, serial, slot.cost(0, 1), used)

    def _pairs(self, stats: dict[str, os.stat_result]) -> list[Found]:
        """Return complete pairs; halves and foreign files are removed."""
        pairs = []
        for file, stat in stats.items():
            stem, _, kind = file.rpartition(".")
            twin = stats.get(f"{stem}.index" if kind == "data" else f"{stem}.data")
            match = _STEM.fullmatch(stem)
            if match is None or twin is None or kind not in ("data", "index"):
                log.info("removing %s, an incomplete file in the cache", file)
                _remove(self.content / file)
            elif kind == "index":
                held = 512 * (stat.st_blocks + twin.st_blocks)  # st_blocks: always 512 bytes
                pair = Pair(str(self.content), stem)
                pairs.append(Found(match[1], pair, int(match[2], 16), held, stat.st_mtime))
        return pairs


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _claim(root: Path) -> int:
    """Lock the directory for this process; return the descriptor that holds the lock."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
                os.close(fd)
                raise SetupError(
                    f"cache directory {root} is in use by another process (pid {owner}); "
                    "give each mount its own --cache-dir"
                ) from None
        time.sleep(0.05)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
