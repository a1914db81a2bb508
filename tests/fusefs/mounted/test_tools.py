"""Programs people run on disks, on a bucket; results compared with the same on a real disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Place
from tests.fusefs.mounted.test_read import MIB, content

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program to its end and return its output; a failure shows what it said."""

    def start(*command: str | Path, cwd: Path | None = None, ok: bool = True) -> str:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd or tmp_path,
            env={**os.environ, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert not ok or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    return start


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of the real disk with all that a tool may meet."""
    root = tmp_path / "tree"
    (root / "deep/er").mkdir(parents=True)
    (root / "empty dir").mkdir()
    for name, size in (("a", 10), ("deep/b ü", 100_000), ("deep/er/c", 6 * MIB), ("none", 0)):
        (root / name).write_bytes(content(size))
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("deep/b ü")
    (root / "dangling").symlink_to("nowhere")
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, (1_500_000_000 + number, 1_400_000_000 + number), follow_symlinks=False)
    return root


def portrait(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what matters of a tree: kind and permissions, time of files, content or target."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory",)
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (oct(status.st_mode), int(status.st_mtime), digest)
    return found


@pytest.mark.parametrize("tool", [["cp", "-a"], ["rsync", "-a"], ["rsync", "-a", "--inplace"]])
def test_copying_there_and_back(
    here: Place, tree: Path, tmp_path: Path, run: Run, tool: list[str]
) -> None:
    """cp -a and rsync -a keep content, modes, times and links in both directions."""
    run(*tool, f"{tree}/.", here / "copy")
    run(*tool, f"{here / 'copy'}/.", tmp_path / "back")
    assert portrait(tmp_path / "back") == portrait(tree)
    assert portrait(here / "copy") == portrait(tree)


def test_rsync_finds_nothing_to_do_the_second_time(here: Place, tree: Path, run: Run) -> None:
    """Sizes and times come back as they were set."""
    run("rsync", "-a", f"{tree}/", here / "copy")
    assert run("rsync", "-ai", "--omit-dir-times", f"{tree}/", here / "copy") == ""
    (tree / "a").write_bytes(b"changed")
    assert run("rsync", "-ai", "--omit-dir-times", f"{tree}/", here / "copy").count("\n") == 1
    assert here.keys.get("copy/a") == b"changed"


def test_tar_writes_and_extracts(here: Place, tree: Path, tmp_path: Path, run: Run) -> None:
    """An archive made on the mount from the mount, extracted on the mount."""
    run("cp", "-a", tree, here / "tree")
    run("tar", "-czf", here / "tree.tgz", "-C", here / "tree", ".")
    (here / "out").mkdir()
    run("tar", "-xzf", here / "tree.tgz", "-C", here / "out")
    assert portrait(here / "out") == portrait(tree)
    (tmp_path / "copy.tgz").write_bytes(here.keys.get("tree.tgz"))
    with tarfile.open(tmp_path / "copy.tgz") as archive:
        assert "./deep/er/c" in archive.getnames()


@pytest.mark.timeout(240)
def test_git(here: Place, tree: Path, run: Run) -> None:
    """clone, commit, gc and fsck of a repository that lies in the bucket."""
    origin = tree.parent / "origin"
    shutil.copytree(tree, origin, symlinks=True)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "safe.directory=*"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        run("git", *who, *command, cwd=origin)
    clone = here / "clone"
    run("git", *who, "clone", "-q", "--no-hardlinks", origin, clone)
    (clone / "new").write_text("new\n")
    for command in (["add", "-A"], ["commit", "-qm", "second"], ["gc", "-q"], ["fsck", "--full"]):
        run("git", *who, *command, cwd=clone)
    assert run("git", *who, "status", "--porcelain", cwd=clone) == ""
    run("git", *who, "clone", "-q", "--no-local", clone, tree.parent / "again")
    log = run("git", *who, "log", "--format=%s", cwd=tree.parent / "again")
    assert log == "second\nfirst\n"


@pytest.mark.parametrize("journal", ["DELETE", "TRUNCATE", "PERSIST"])
def test_sqlite_with_a_rollback_journal(here: Place, tmp_path: Path, journal: str) -> None:
    """Transactions commit and roll back; the stored object is a sound database."""
    path = here / "data.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
    for start in range(0, 300, 100):
        with sqlite3.connect(path) as connection:
            rows = ((n, content(500, n)) for n in range(start, start + 100))
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM t")
    connection.rollback()
    connection.close()
    copy = tmp_path / "check.db"
    copy.write_bytes(here.keys.get("data.db"))
    checked = sqlite3.connect(copy)
    assert checked.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert checked.execute("SELECT count(*), sum(length(v)) FROM t").fetchone() == (300, 150_000)
    checked.close()
    connection.close()


def test_saving_like_an_editor(here: Place) -> None:
    """vim: old file to a backup, new one written and synced, backup removed; and by rename."""
    (here / "notes").write_bytes(b"old")
    os.rename(here / "notes", here / "notes~")
    with (here / "notes").open("wb") as file:
        file.write(b"new")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(here / "notes", 0o640)
    (here / "notes~").unlink()
    (here / ".notes.swp").write_bytes(b"newest")
    os.replace(here / ".notes.swp", here / "notes")
    assert here.keys.get("notes") == b"newest"
    assert os.listdir(here.path) == ["notes"]


def test_sed_in_place(here: Place, run: Run) -> None:
    """sed -i: a temporary file beside it, renamed over it."""
    (here / "f").write_text("one two\n")
    run("sed", "-i", "s/two/three/", here / "f")
    assert here.keys.get("f") == b"one three\n"
    assert os.listdir(here.path) == ["f"]


def test_unzip(here: Place, tree: Path, run: Run) -> None:
    """An archive in the bucket, unpacked beside itself."""
    with zipfile.ZipFile(here / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, path.relative_to(tree))
    run("unzip", "-q", here / "a.zip", "-d", here / "out")
    assert here.keys.get("out/deep/er/c") == (tree / "deep/er/c").read_bytes()
    assert here.keys.get("out/deep/b ü") == (tree / "deep/b ü").read_bytes()


DD = {
    "notrunc": ("seek=3", "conv=notrunc"),
    "truncating": ("seek=3",),
    "append": ("oflag=append", "conv=notrunc"),
    "sparse": ("conv=sparse",),
    "sync": ("conv=sync", "ibs=7000"),
    "fsync": ("conv=fsync",),
    "fdatasync": ("conv=fdatasync,notrunc",),
    "nocreat": ("conv=nocreat",),
    "swab": ("conv=swab",),
    "lcase": ("conv=lcase",),
    "ucase": ("conv=ucase",),
    "block": ("conv=block", "cbs=80"),
    "unblock": ("conv=unblock", "cbs=80"),
    "ascii": ("conv=ascii", "cbs=80"),
    "ebcdic": ("conv=ebcdic", "cbs=80"),
    "ibm": ("conv=ibm", "cbs=80"),
    "noerror": ("conv=noerror,sync",),
    "direct": ("oflag=direct",),
    "osync": ("oflag=sync",),
    "skip": ("skip=2", "iflag=fullblock"),
}


@pytest.mark.parametrize("flags", DD.values(), ids=DD)
def test_dd(here: Place, tmp_path: Path, run: Run, flags: tuple[str, ...]) -> None:
    """dd leaves on the mount what it leaves on a disk."""
    (tmp_path / "in").write_bytes(content(49_152) + bytes(16_384) + content(4096))
    for directory in (tmp_path, here.path):
        (directory / "out").write_bytes(content(200_000, 2))
        block = () if any("ibs=" in flag for flag in flags) else ("bs=4096",)
        run("dd", f"if={tmp_path / 'in'}", f"of={directory / 'out'}", *block, *flags)
    assert here.keys.get("out") == (tmp_path / "out").read_bytes()


def test_dd_excl_refuses_what_is_there(here: Place, run: Run) -> None:
    """conv=excl makes a file and never takes one that exists."""
    run("dd", "if=/dev/zero", f"of={here / 'f'}", "bs=10", "count=1", "conv=excl")
    assert here.keys.get("f") == bytes(10)
    run("dd", "if=/dev/zero", f"of={here / 'f'}", "bs=20", "count=1", "conv=excl", ok=False)
    assert here.keys.get("f") == bytes(10)


def test_shutil(here: Place, tree: Path) -> None:
    """Python's copytree, copy2, move and rmtree."""
    shutil.copytree(tree, here / "copy", symlinks=True)
    shutil.copy2(here / "copy/a", here / "a2")
    shutil.move(here / "copy/deep", here / "moved")
    assert here.keys.get("moved/er/c") == (tree / "deep/er/c").read_bytes()
    assert (here / "a2").stat().st_mtime == (tree / "a").stat().st_mtime
    shutil.rmtree(here / "copy")
    assert not here.keys.keys("copy")


def test_moving_between_a_disk_and_the_mount(here: Place, tree: Path, run: Run) -> None:
    """mv across file systems, in both directions, and between directories of the mount."""
    before = portrait(tree)
    run("mv", tree, here / "tree")
    assert not tree.exists()
    (here / "other").mkdir()
    run("mv", here / "tree", here / "other/tree")
    run("mv", here / "other/tree", tree)
    assert portrait(tree) == before
    assert os.listdir(here / "other") == []


def test_pip_install_target(here: Place, tmp_path: Path, run: Run) -> None:
    """A wheel installed onto the mount can be imported from there."""
    wheel = tmp_path / "sample-1.0-py3-none-any.whl"
    info = "sample-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("sample/__init__.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    run(*pip, "--disable-pip-version-check", "--target", here / "lib", wheel)
    script = "import sys; sys.path.insert(0, sys.argv[1]); import sample; print(sample.ANSWER)"
    assert run(sys.executable, "-c", script, here / "lib") == "42\n"


def test_touch_and_find_newer(here: Place, run: Run) -> None:
    """touch -d sets times that find -newer compares."""
    run("touch", "-d", "2001-02-03 04:05:06", here / "old")
    run("touch", "-d", "2011-02-03 04:05:06", here / "middle")
    run("touch", here / "new")
    assert (here / "old").stat().st_mtime == 981_173_106
    found = run("find", here.path, "-type", "f", "-newer", here / "middle")
    assert found == f"{here / 'new'}\n"


def test_du_and_df(here: Place, run: Run) -> None:
    """du counts what is there; df shows a file system with room."""
    (here / "d").mkdir()
    (here / "d/f").write_bytes(content(3 * MIB))
    assert int(run("du", "-sb", "--apparent-size", here / "d/f").split()[0]) == 3 * MIB
    assert 3 * 1024 <= int(run("du", "-sk", here / "d").split()[0]) < 3 * 1024 + 64
    _, size, _, free, *_ = run("df", "-P", here.path).splitlines()[1].split()
    assert int(size) > 0
    assert int(free) > 1 << 30


def test_appending_in_a_shell(here: Place, run: Run) -> None:
    """echo >> log, many times over; tee -a and a pipe."""
    run(
        "sh",
        "-c",
        "for n in 1 2 3 4 5; do echo $n >> log; done; echo 6 | tee -a log",
        cwd=here.path,
    )
    assert here.keys.get("log") == b"1\n2\n3\n4\n5\n6\n"


def test_file_locks_within_the_mount(here: Place, run: Run) -> None:
    """flock(1): the second taker waits or fails."""
    script = "flock -n lock sh -c 'flock -n lock true && echo both || echo one'"
    assert run("sh", "-c", script, cwd=here.path) == "one\n"
