"""Staged files: their content, their journal after a kill at any moment, their space."""

import os
import resource
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.attributes import Posix
from fusefs.cache.cache import Cache
from fusefs.disk.space import Space
from fusefs.errors import NoSpace, TooBig
from fusefs.objects import Headers, ObjectInfo
from fusefs.write.serversidecopy import CopiedRange, CopySource
from fusefs.write.staged import MOST_ZEROS, Record, Staged, leftovers
from fusefs.write.uploadplan import MAX_OBJECT

MOST = 64 << 10
BASE = 30_000  # bytes of the object that is changed

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, MOST), st.integers(1, 9000)),
        st.tuples(st.just("zero"), st.integers(0, MOST), st.integers(1, 20_000)),
        st.tuples(st.just("resize"), st.integers(0, MOST), st.just(0)),
        st.tuples(st.just("copy"), st.integers(0, MOST), st.integers(1, 20_000)),
        st.tuples(st.just("change"), st.integers(0, 7), st.just(0)),
    ),
    min_size=1,
    max_size=8,
)
Step = tuple[str, int, int]

INFO = ObjectInfo("dir/äö.txt", BASE, "etag", 12.5)
SOURCE = ObjectInfo("source", 200_000, "another", 3.0)
COPIED = -1  # in place of a byte that is another object's
POSIX = Posix(stat.S_IFREG | 0o640, 1, 2, -5, 6, 7, {"user.a": b"\0\xff"})
HEADERS = Headers({"foreign": "x"}, {"ContentType": "text/plain"})
RECORD = Record(INFO.key, "etag", INFO, BASE, HEADERS, POSIX, node=9)


@dataclass
class Model:
    """What the file must be: its size, and each changed byte."""

    size: int = BASE
    changed: dict[int, int] = field(default_factory=dict)

    def set(self, start: int, content: bytes) -> None:
        self.resize(max(self.size, start))  # what is skipped beyond the end is zeros
        self.changed |= dict(enumerate(content, start))
        self.size = max(self.size, start + len(content))

    def resize(self, size: int) -> None:
        self.changed = {at: byte for at, byte in self.changed.items() if at < size}
        self.changed |= dict.fromkeys(range(self.size, size), 0)
        self.size = size

    def copy(self) -> "Model":
        return Model(self.size, dict(self.changed))


def apply(staged: Staged, model: Model, number: int, step: Step) -> None:
    """Do a step to both."""
    kind, at, length = step
    if kind == "write":
        content = bytes([number % 255 + 1]) * length
        staged.write(at, content)
        model.set(at, content)
    elif kind == "zero":
        staged.zero(at, at + length)
        model.set(at, bytes(length))
    elif kind == "copy":
        staged.copy_in(CopiedRange(at, at + length, CopySource(SOURCE, 100_000 - at)))
        model.set(at, bytes(length))
        model.changed |= dict.fromkeys(range(at, at + length), COPIED)
    elif kind == "resize":
        staged.resize(at)
        model.resize(at)
    else:
        staged.change(replace(staged.record, key=f"dir/{at}", headers=Headers({"at": str(at)})))


def same(staged: Staged, model: Model) -> bool:
    """Say whether size, changed ranges and changed bytes are those of the model."""
    found: dict[int, int] = {}
    for start, end in staged.dirty:
        view = bytearray(end - start)
        staged.read(start, memoryview(view))
        found |= dict(enumerate(view, start))
    for copied in staged.copies:
        found |= dict.fromkeys(range(copied.start, copied.end), COPIED)
    return staged.record.size == model.size and found == model.changed


class Disk:
    """A directory with a space, for one example; `with` removes it."""

    def __init__(self, root: Path) -> None:
        self.root = root / os.urandom(8).hex()
        self.root.mkdir()
        self.space = Space(self.root, 1 << 30, 0)

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root)

    def killed(self, log: bytes, data: bytes, model: Model) -> bool:
        """Say whether what a killed process left, these two files, is restored to the model."""
        stem = self.root / os.urandom(4).hex()
        stem.with_suffix(".log").write_bytes(log)
        stem.with_suffix(".data").write_bytes(data)
        found = Staged.restore(stem, self.space)
        if found is None:
            return False
        try:
            return same(found, model)
        finally:
            found.discard()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("staged")


@given(steps=STEPS)
def test_it_holds_what_was_changed(root: Path, steps: list[Step]) -> None:
    """Writes, holes, truncation both ways, over each other: as one model of bytes says."""
    with Disk(root) as disk:
        staged, model = Staged(disk.root / "x", RECORD, disk.space), Model()
        for number, step in enumerate(steps):
            apply(staged, model, number, step)
            assert same(staged, model)
        staged.discard()


@given(steps=STEPS)
def test_its_space_comes_back(root: Path, steps: list[Step]) -> None:
    """What it takes is what the disk says, but for pages of zeros; at the end nothing is taken."""
    with Disk(root) as disk:
        staged, model = Staged(disk.root / "x", RECORD, disk.space), Model()
        for number, step in enumerate(steps):
            apply(staged, model, number, step)
            taken = 512 * (disk.root / "x.data").stat().st_blocks
            assert taken <= disk.space.used <= taken + 4096 * len(steps)
        staged.close()
        again = Staged.restore(disk.root / "x", Space(disk.root, 1 << 30, 0))
        assert again is not None
        assert again._space.used == disk.space.used
        again.discard()
        assert again._space.used == 0
        assert os.listdir(disk.root) == []


@given(steps=STEPS, cut=st.floats(0, 1))
def test_a_log_cut_anywhere_is_a_prefix_of_the_steps(
    root: Path, steps: list[Step], cut: float
) -> None:
    """Killed within a step: that step is done or not, the ones before it are, none after it."""
    with Disk(root) as disk:
        staged, model = Staged(disk.root / "x", RECORD, disk.space), Model()
        log, data = disk.root / "x.log", disk.root / "x.data"
        for number, step in enumerate(steps):
            old, old_data, before = log.read_bytes(), data.read_bytes(), model.copy()
            apply(staged, model, number, step)
            line = log.read_bytes()[len(old) :]
            torn = old + line[: int(cut * len(line))]
            # The data goes before the log at a write, and after it at all else.
            late = data.read_bytes() if step[0] == "write" else old_data
            assert torn == old + line or disk.killed(torn, old_data, before)
            assert disk.killed(old + line, late, model)
        staged.discard()


def test_the_record_survives_with_everything_in_it(tmp_path: Path) -> None:
    """Key, condition, base, headers, attributes, extended ones, the node and whether it has a
    name."""
    space = Space(tmp_path, 1 << 30, 0)
    staged = Staged(tmp_path / "x", RECORD, space)
    staged.write(0, b"abc")
    staged.change(replace(RECORD, unlinked=True, condition="*", base=None))
    staged.close()
    again = Staged.restore(tmp_path / "x", space)
    assert again is not None
    assert again.record == replace(RECORD, unlinked=True, condition="*", base=None)
    again.close()


def test_a_file_without_its_first_line_was_never_told_of(tmp_path: Path) -> None:
    """Nothing to upload, and nothing left on the disk."""
    for text in (b"", b'{"version": 1, "key": "k"'):
        (tmp_path / "x.log").write_bytes(text)
        (tmp_path / "x.data").write_bytes(b"")
        assert Staged.restore(tmp_path / "x", Space(tmp_path, 100, 0)) is None
        assert os.listdir(tmp_path) == []


def test_a_write_without_room_changes_nothing(tmp_path: Path) -> None:
    """NoSpace, and what was there before is still there."""
    space = Space(tmp_path, 9000, 0)
    staged = Staged(tmp_path / "x", replace(RECORD, size=0, base=None), space)
    staged.write(0, b"a" * 8100)
    with pytest.raises(NoSpace):
        staged.write(8100, b"b" * 200)
    assert (staged.record.size, space.used, list(staged.dirty)) == (8100, 8192, [(0, 8100)])
    staged.discard()
    assert space.used == 0


def test_a_conflict_keeps_data_and_log_together(tmp_path: Path) -> None:
    """`NAME.data` has the file's size and the changed bytes in their places, `NAME.log` the rest
    of the story."""
    staged = Staged(tmp_path / "x", RECORD, Space(tmp_path, 1 << 30, 0))
    staged.write(10, b"ours")
    kept = staged.keep_as_conflict(tmp_path / "conflicts")
    assert kept.stat().st_size == BASE
    assert kept.read_bytes()[10:14] == b"ours"
    lines = kept.with_suffix(".log").read_text().splitlines()
    assert lines[0].startswith('{"version": 2, "boot": "')
    assert lines[1:] == ["w 10 4"]
    assert sorted(os.listdir(tmp_path)) == ["conflicts"]


def test_what_is_uploaded_whole_becomes_cached_content(tmp_path: Path) -> None:
    """Its bytes change their owner; they aren't copied or counted twice."""
    space = Space(tmp_path, 1 << 30, 0)
    cache = Cache(tmp_path / "blocks", space)
    staged = Staged(tmp_path / "x", replace(RECORD, size=0, base=None), space)
    staged.write(0, b"abc")
    staged.become_cache(cache, replace(INFO, size=3))
    assert cache.whole(INFO.key, INFO.etag)
    assert space.used == cache.held
    cache.close()
    assert not list(tmp_path.glob("x.*"))


def test_leftovers_are_whole_pairs_oldest_first(tmp_path: Path) -> None:
    """Data without a log isn't one: it was given to the cache, or never told of."""
    for number, name in enumerate(("b", "a", "c")):
        Staged(tmp_path / name, RECORD, Space(tmp_path, 1000, 0)).close()
        os.utime(tmp_path / f"{name}.log", ns=(0, number))
    (tmp_path / "half.data").write_bytes(b"x")
    assert [stem.name for stem in leftovers(tmp_path)] == ["b", "a", "c"]
    assert not (tmp_path / "half.data").exists()


def test_zeros_beyond_the_end_make_zeros_of_the_gap(tmp_path: Path) -> None:
    """What was cut off before doesn't come back between the old end and the zeros."""
    staged = Staged(tmp_path / "x", RECORD, Space(tmp_path, 1 << 30, 0))
    staged.resize(10)
    staged.zero(60_000, 70_000)
    assert list(staged.dirty) == [(10, 70_000)]
    assert staged.record.size == 70_000
    staged.discard()


def test_a_journal_of_a_former_version_loads_with_the_gap_as_zeros(tmp_path: Path) -> None:
    """It has the line of such zeros alone; nothing else says that the gap is there."""
    Staged(tmp_path / "x", RECORD, Space(tmp_path, 1 << 30, 0)).close()
    with (tmp_path / "x.log").open("ab") as log:
        log.write(b"t 10\nz 60000 70000\n")
    again = Staged.restore(tmp_path / "x", Space(tmp_path, 1 << 30, 0))
    assert again is not None
    assert list(again.dirty) == [(10, 70_000)]
    again.discard()


def test_a_write_that_fails_half_way_leaves_nothing_beyond_the_end(tmp_path: Path) -> None:
    """The disk takes the first bytes and refuses the rest: extended later, the file has zeros."""
    staged = Staged(tmp_path / "x", replace(RECORD, size=0), Space(tmp_path, 1 << 30, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            staged.write(0, b"x" * 9000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    staged.resize(8000)
    assert same(staged, Model(8000, dict.fromkeys(range(8000), 0)))
    staged.discard()


def test_a_write_that_fails_half_way_leaves_zeros_as_they_were(tmp_path: Path) -> None:
    """Of a range that was made zeros it changes nothing, and the disk gets back what it took."""
    space = Space(tmp_path, 1 << 30, 0)
    staged = Staged(tmp_path / "x", replace(RECORD, size=0), space)
    staged.write(0, b"abc")
    staged.resize(60_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            staged.write(1, b"x" * 40_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    view = bytearray(60_000)
    staged.read(0, memoryview(view))
    assert view[3:] == bytes(59_997)
    assert space.used == 4096
    staged.discard()


def test_each_page_of_the_disk_is_counted_once(tmp_path: Path) -> None:
    """As the disk does: a byte takes a page, its neighbour none, and cut off they are back."""
    space = Space(tmp_path, 1 << 30, 0)
    staged = Staged(tmp_path / "x", RECORD, space)
    for page in range(5):
        for at in (7, 9, 4095):
            staged.write(page * 4096 + at, b"x")
    assert space.used == 5 * 4096 == 512 * (tmp_path / "x.data").stat().st_blocks
    staged.zero(4096, 3 * 4096 + 1)
    assert space.used == 3 * 4096 == 512 * (tmp_path / "x.data").stat().st_blocks
    staged.resize(10)
    assert space.used == 4096 == 512 * (tmp_path / "x.data").stat().st_blocks
    staged.close()
    later = Space(tmp_path, 1 << 30, 0)
    again = Staged.restore(tmp_path / "x", later)
    assert again is not None
    assert later.used == 4096
    again.discard()
    assert later.used == 0


def test_a_write_that_was_not_told_leaves_nothing_beyond_the_end(tmp_path: Path) -> None:
    """Killed between the bytes and their line: the next process extends the file with zeros."""
    Staged(tmp_path / "x", replace(RECORD, size=0), Space(tmp_path, 1 << 30, 0)).close()
    (tmp_path / "x.data").write_bytes(b"x" * 5000)
    again = Staged.restore(tmp_path / "x", Space(tmp_path, 1 << 30, 0))
    assert again is not None
    again.write(6000, b"y")
    assert same(again, Model(6001, dict.fromkeys(range(6000), 0) | {6000: ord("y")}))
    again.discard()


GROWTHS: dict[str, Callable[[Staged, int], None]] = {
    "write": lambda staged, end: staged.write(end - 1, b"x"),
    "zero": lambda staged, end: staged.zero(end - 1, end),
    "resize": lambda staged, end: staged.resize(end),
    "copy": lambda staged, end: staged.copy_in(CopiedRange(end - 1, end, CopySource(SOURCE))),
}


@pytest.mark.parametrize("grow", GROWTHS.values(), ids=GROWTHS)
@pytest.mark.parametrize("end", [MAX_OBJECT + 1, BASE + MOST_ZEROS + 2], ids=["object", "zeros"])
def test_what_no_upload_could_hold_is_refused(
    tmp_path: Path, grow: Callable[[Staged, int], None], end: int
) -> None:
    """Larger than any object, or with more zeros to be sent than is sensible: nothing changes."""
    space = Space(tmp_path, 1 << 30, 0)
    staged = Staged(tmp_path / "x", RECORD, space)
    staged.write(0, b"abc")
    before = (tmp_path / "x.log").read_bytes()
    with pytest.raises(TooBig):
        grow(staged, end)
    assert (staged.record.size, list(staged.dirty), space.used) == (BASE, [(0, 3)], 4096)
    assert (tmp_path / "x.log").read_bytes() == before
    staged.discard()


def test_zeros_that_are_there_already_are_counted_once(tmp_path: Path) -> None:
    """Allocating the same range again and again isn't refused; a hole in the middle is."""
    huge = replace(INFO, size=2 * MOST_ZEROS)
    staged = Staged(
        tmp_path / "x", replace(RECORD, base=huge, size=huge.size), Space(tmp_path, 1 << 30, 0)
    )
    for _ in range(3):
        staged.zero(0, MOST_ZEROS)
    staged.write(5, b"abc")
    staged.zero(MOST_ZEROS, MOST_ZEROS + 3)
    with pytest.raises(TooBig):
        staged.zero(MOST_ZEROS, MOST_ZEROS + 4)
    staged.discard()


def test_bytes_without_a_first_line_are_left(tmp_path: Path) -> None:
    """They were written after it: a power failure took it, and nobody knows whose they are."""
    (tmp_path / "x.log").write_bytes(b"")
    (tmp_path / "x.data").write_bytes(b"abc")
    with pytest.raises(ValueError, match="its log is empty"):
        Staged.restore(tmp_path / "x", Space(tmp_path, 100, 0))
    assert sorted(os.listdir(tmp_path)) == ["x.data", "x.log"]


@pytest.mark.parametrize(
    "last", [b"", b'{"version": 9}\n', b'["z"]\n'], ids=["torn", "version", "form"]
)
def test_a_log_of_an_unknown_version_is_left(tmp_path: Path, last: bytes) -> None:
    """Not a byte of it or of its data changes, torn lines included."""
    Staged(tmp_path / "x", RECORD, Space(tmp_path, 1 << 30, 0)).close()
    log = tmp_path / "x.log"
    text = (last or log.read_bytes().replace(b'"version": 2', b'"version": 3')) + b"w 1"
    log.write_bytes(text)
    (tmp_path / "x.data").write_bytes(b"x" * (BASE + 5))
    with pytest.raises(ValueError, match=r"version|JSON object"):
        Staged.restore(tmp_path / "x", Space(tmp_path, 1 << 30, 0))
    assert log.read_bytes() == text
    assert (tmp_path / "x.data").stat().st_size == BASE + 5


def test_an_unknown_step_is_not_taken_for_another(tmp_path: Path) -> None:
    """A newer version may have written it."""
    Staged(tmp_path / "x", RECORD, Space(tmp_path, 1 << 30, 0)).close()
    with (tmp_path / "x.log").open("ab") as log:
        log.write(b"y {}\n")
    with pytest.raises(ValueError, match="unknown step"):
        Staged.restore(tmp_path / "x", Space(tmp_path, 1 << 30, 0))


def test_a_conflict_of_a_file_without_a_name_is_copied(tmp_path: Path) -> None:
    """The cache directory was removed under it; the conflict is where the log says."""
    (tmp_path / "staged").mkdir()
    staged = Staged(tmp_path / "staged/x", RECORD, Space(tmp_path, 1 << 30, 0))
    staged.write(10, b"ours")
    shutil.rmtree(tmp_path / "staged")
    late = Staged(tmp_path / "staged/y", RECORD, Space(tmp_path, 1 << 30, 0))
    late.write(20, b"late")
    for file, offset, text in ((staged, 10, b"ours"), (late, 20, b"late")):
        kept = file.keep_as_conflict(tmp_path / "conflicts")
        assert kept.read_bytes()[offset : offset + 4] == text
        assert kept.with_suffix(".log").read_text().splitlines()[1] == f"w {offset} 4"
    assert os.listdir(tmp_path) == ["conflicts"]
