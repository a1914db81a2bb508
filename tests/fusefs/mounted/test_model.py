"""The mount against a plain directory: random operations on both, the same results from both.

Others change the bucket in between, through boto3. The mount trusts nothing it knows for longer
than a moment (`--attr-ttl 0`), so that theirs show at once, and reports no errno but the disk's.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.fusefs.mounted.conftest import Mounts
from tests.mounts.ours import OurMount
from tests.servers.s3 import Bucket

NAMES = st.sampled_from(["a", "b", "dir", "dir/a", "dir/b", "dir/sub", "dir/sub/a", "other"])
DATA = st.binary(max_size=40) | st.builds(lambda n: b"x" * n, st.sampled_from([5000, 140_000]))
SIZES = st.sampled_from([0, 1, 39, 4096, 5001, 200_000])
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o1777])
# Descriptors that stay open while other things happen.
SLOTS = st.sampled_from([1, 2, 3])
FLAGS = st.sampled_from(
    [
        os.O_RDONLY,
        os.O_RDWR,
        os.O_RDWR | os.O_CREAT,
        os.O_RDWR | os.O_APPEND,
        os.O_WRONLY | os.O_TRUNC,
    ]
)
# Two right answers to one question: rename(2) lets a file system choose between these.
SAME = {errno.ENOTEMPTY: errno.EEXIST, errno.EPERM: errno.EISDIR}
Result = object
LONG = 60  # steps


class Comparison(RuleBasedStateMachine):
    """Does everything twice: below the mount and below a directory of the disk."""

    mount: ClassVar[OurMount]
    bucket: ClassVar[Bucket]
    scratch: ClassVar[Path]
    rounds: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).rounds += 1
        self.ours = self.mount.path / f"r{self.rounds}"
        self.disk = self.scratch / f"r{self.rounds}"
        self.keys = self.bucket.under(f"r{self.rounds}/")
        self.open: dict[int, dict[Path, int]] = {}
        for root in (self.ours, self.disk):
            root.mkdir()

    def teardown(self) -> None:
        """Remove both trees; ours has to let itself be removed."""
        for slot in list(self.open):
            self.close(slot)
        shutil.rmtree(self.disk)
        shutil.rmtree(self.ours)
        assert self.keys.keys() == []

    def both(self, act: Callable[[Path], Result]) -> None:
        """Do it on both, and compare what came of it."""
        outcomes = [outcome(act, root) for root in (self.ours, self.disk)]
        assert outcomes[0] == outcomes[1]

    @rule(name=NAMES, data=DATA)
    def write(self, name: str, data: bytes) -> None:
        self.both(lambda root: (root / name).write_bytes(data))

    @rule(name=NAMES, data=DATA)
    def append(self, name: str, data: bytes) -> None:
        def act(root: Path) -> Result:
            with (root / name).open("ab") as file:
                return file.write(data)

        self.both(act)

    @rule(name=NAMES, data=DATA, offset=SIZES)
    def overwrite(self, name: str, data: bytes, offset: int) -> None:
        def act(root: Path) -> Result:
            with (root / name).open("rb+", buffering=0) as file:
                file.seek(offset)
                return file.write(data)

        self.both(act)

    @rule(name=NAMES)
    def create_new(self, name: str) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        self.both(lambda root: os.close(os.open(root / name, flags)))

    @rule(name=NAMES, size=SIZES)
    def truncate(self, name: str, size: int) -> None:
        self.both(lambda root: os.truncate(root / name, size))

    @rule(name=NAMES)
    def unlink(self, name: str) -> None:
        self.both(lambda root: (root / name).unlink())

    @rule(name=NAMES)
    def mkdir(self, name: str) -> None:
        self.both(lambda root: (root / name).mkdir())

    @rule(name=NAMES)
    def rmdir(self, name: str) -> None:
        self.both(lambda root: (root / name).rmdir())

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        self.both(lambda root: (root / old).rename(root / new) and None)

    @rule(name=NAMES, text=NAMES)
    def symlink(self, name: str, text: str) -> None:
        self.both(lambda root: (root / name).symlink_to(text))

    @rule(name=NAMES, mode=MODES)
    def chmod(self, name: str, mode: int) -> None:
        # Modes of directories aren't compared: SeaweedFS keeps none.
        self.both(lambda root: (root / name).chmod(mode | 0o700))

    @rule(name=NAMES, seconds=st.integers(1, 2**31))
    def touch(self, name: str, seconds: int) -> None:
        self.both(lambda root: os.utime(root / name, (seconds, seconds)))

    @rule(old=NAMES, new=NAMES, data=DATA)
    def rename_while_writing(self, old: str, new: str, data: bytes) -> None:
        def act(root: Path) -> Result:
            with (root / old).open("rb+", buffering=0) as file:
                file.write(data[:10])
                (root / old).rename(root / new)
                return file.write(data[10:])

        self.both(act)

    @rule(name=NAMES, data=DATA)
    def unlink_while_writing(self, name: str, data: bytes) -> None:
        def act(root: Path) -> Result:
            with (root / name).open("wb+", buffering=0) as file:
                file.write(data)
                (root / name).unlink()
                file.seek(0)
                return file.read()

        self.both(act)

    @rule(slot=SLOTS, name=NAMES, flags=FLAGS)
    def keep_open(self, slot: int, name: str, flags: int) -> None:
        self.close(slot)
        opened: dict[Path, int] = {}

        def act(root: Path) -> Result:
            opened[root] = os.open(root / name, flags, 0o644)
            return os.fstat(opened[root]).st_size

        self.both(act)
        if opened:
            self.open[slot] = opened

    @rule(slot=SLOTS)
    def close(self, slot: int) -> None:
        opened = self.open.pop(slot, {})
        if opened:
            self.both(lambda root: os.close(opened[root]))

    def with_open(self, slot: int, act: Callable[[int], Result]) -> None:
        if opened := self.open.get(slot):
            self.both(lambda root: act(opened[root]))

    @rule(slot=SLOTS, offset=SIZES)
    def read_open(self, slot: int, offset: int) -> None:
        self.with_open(slot, lambda fd: os.pread(fd, 300_000, offset))

    @rule(slot=SLOTS, offset=SIZES, data=DATA)
    def write_open(self, slot: int, offset: int, data: bytes) -> None:
        self.with_open(slot, lambda fd: os.pwrite(fd, data, offset))

    @rule(slot=SLOTS, size=SIZES)
    def truncate_open(self, slot: int, size: int) -> None:
        self.with_open(slot, lambda fd: os.ftruncate(fd, size))

    @rule(slot=SLOTS)
    def sync_open(self, slot: int) -> None:
        self.with_open(slot, os.fsync)

    @rule(name=NAMES, data=DATA)
    def others_put(self, name: str, data: bytes) -> None:
        """Somebody else stores an object where a file could be on the disk, too."""
        if self.open:
            return  # who writes to it would rightly be told ESTALE
        target = self.disk / name
        parents = [target, *target.parents][: len(Path(name).parts)]
        if any(path.is_symlink() for path in parents) or target.is_dir():
            return
        if any(path.is_file() for path in parents[1:]):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data)
        target.chmod(0o644)
        self.keys.put(name, data)

    @rule(name=NAMES)
    def others_delete(self, name: str) -> None:
        """Somebody else deletes a file's object; its directory has a marker or other files."""
        target = self.disk / name
        if (
            self.open
            or target.is_symlink()
            or not target.is_file()
            or any(map(Path.is_symlink, target.parents))
        ):
            return
        if name.count("/") and f"{Path(name).parent}/" not in self.keys:
            return
        target.unlink()
        self.keys.delete(name)

    @invariant()
    def shows_the_same(self) -> None:
        assert portrait(self.ours) == portrait(self.disk)


def outcome(act: Callable[[Path], Result], root: Path) -> Result:
    """Return what a call gave, or its errno."""
    try:
        return act(root)
    except OSError as error:
        assert error.errno is not None
        return f"errno {SAME.get(error.errno, error.errno)}"


def portrait(root: Path) -> dict[str, tuple[object, ...]]:
    """Return names, kinds, modes and contents of everything below."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(root))
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("directory",)
        else:
            found[name] = (oct(status.st_mode), status.st_size, path.read_bytes())
    return found


def compare(mount: OurMount, bucket: Bucket, scratch: Path, examples: int, steps: int) -> None:
    """Run the machine so often and so long."""

    class Here(Comparison):
        pass

    Here.mount, Here.bucket, Here.scratch = mount, bucket, scratch
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=steps < LONG,
            database=None,
            print_blob=True,
        ),
    )


@pytest.fixture
def mount(bucket: Bucket, mounts: Mounts) -> OurMount:
    """A mount that trusts nothing it has learned."""
    return mounts(bucket, "--attr-ttl", "0")


@pytest.mark.timeout(300)
def test_like_a_disk(mount: OurMount, bucket: Bucket, tmp_path: Path) -> None:
    """Short form."""
    compare(mount, bucket, tmp_path, examples=6, steps=20)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_like_a_disk_for_minutes(mount: OurMount, bucket: Bucket, tmp_path: Path) -> None:
    """Long form, another one each time."""
    compare(mount, bucket, tmp_path, examples=60, steps=LONG)
