"""Files that a person names to a command and that it can't use: one line, and exit code 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fusefs.cli import command as cli
from fusefs.errors import SetupError
from fusefs.tools import command, conflicts
from tests.fusefs.tools.test_tools import kept

ROOM = "make room there, or name another place"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk of its own takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def merged(cache: Path, base: Path | None, out: Path) -> str:
    """Merge the conflict of `kept`, which can't be; return what the command says."""
    words = ["--cache-dir", str(cache), "merge", "x", "--out", str(out)]
    words += ["--base", str(base)] if base is not None else []
    with pytest.raises(SetupError) as caught:
        command.run("conflicts", words, cli._settings_of)
    return str(caught.value)


def test_a_base_that_is_no_file_is_named(tmp_path: Path) -> None:
    """Missing or a directory; nothing is made of it."""
    cache, out = kept(tmp_path), tmp_path / "out"
    told = merged(cache, tmp_path / "absent", out)
    assert told == f"conflicts: {tmp_path}/absent: No such file or directory; check the path"
    told = merged(cache, tmp_path, out)
    assert told == f"conflicts: {tmp_path}: Is a directory; name a file"
    assert not out.exists()


def test_a_base_is_not_written_over(tmp_path: Path) -> None:
    """By its name, a link or another way to it: it may be the only copy of that version."""
    cache, base, link = kept(tmp_path), tmp_path / "base", tmp_path / "link"
    base.write_bytes(b"base")
    link.symlink_to(base)
    for out in (base, link):
        assert "--base and --out are the same file" in merged(cache, base, out)
    assert base.read_bytes() == b"base"


@pytest.mark.parametrize("suffix", [".data", ".log"])
def test_a_conflict_is_not_written_over(tmp_path: Path, suffix: str) -> None:
    """What is kept is never changed: merging into it would lose it."""
    cache = kept(tmp_path)
    file = cache / conflicts.DIRECTORY / f"x{suffix}"
    before = file.read_bytes()
    assert "is the conflict itself" in merged(cache, None, file)
    assert file.read_bytes() == before


def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    """Its directory isn't there, or it is one itself."""
    cache = kept(tmp_path)
    out = tmp_path / "no/out"
    assert f"{out}: No such file or directory; check" in merged(cache, None, out)
    assert f"{tmp_path}: Is a directory; name a file" in merged(cache, None, tmp_path)
    assert "/dev/null is no plain file" in merged(cache, None, Path("/dev/null"))


@pytest.mark.parametrize("based", [True, False])
def test_a_full_disk_keeps_what_was_there(tmp_path: Path, small: Path, based: bool) -> None:
    """The file is made beside its place and takes it when it is whole."""
    cache, base, out = kept(tmp_path), tmp_path / "base", small / "out"
    base.write_bytes(b"base")
    out.write_bytes(b"before")
    with (small / "fill").open("wb", buffering=0) as fill, suppress(OSError):
        while fill.write(bytes(4096)):
            pass
    told = merged(cache, base if based else None, out)
    assert told == f"conflicts: {out}: No space left on device; {ROOM}"
    assert out.read_bytes() == b"before"
    assert sorted(each.name for each in small.iterdir()) == ["fill", "out"]


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Not an empty list."""
    cache = kept(tmp_path)
    folder = cache / conflicts.DIRECTORY
    folder.rename(cache / "other")
    folder.symlink_to(folder)
    with pytest.raises(SetupError, match=f"{folder}: Too many levels of symbolic links"):
        command.run("conflicts", ["--cache-dir", str(cache), "list"], cli._settings_of)


def test_warming_names_what_it_could_not_look_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory that can't be listed isn't an empty one; the others are read."""
    (tmp_path / "one").write_bytes(b"x")
    deep, here = tmp_path, os.open(tmp_path, os.O_RDONLY)
    for _ in range(18):  # deeper than a path may be long
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, deep = below, deep / ("d" * 250)
    os.close(here)
    assert command.run("warm", [str(tmp_path), "--json"], cli._settings_of) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["bytes"]) == (1, 1)
    assert list(told["failed"].values()) == ["File name too long"]


def test_an_interrupted_warming_ends_at_once(tmp_path: Path) -> None:
    """Ctrl-C reads no further, though there are files enough for ever, and has no traceback."""
    (tmp_path / "one").write_bytes(b"x")
    for number in range(8):  # each of its readers is endless: sparse, and sent a piece at a time
        with (tmp_path / f"{number}").open("wb") as file:
            file.truncate(1 << 42)
    words = [sys.executable, "-m", "fusefs", "warm", str(tmp_path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        reading = Path(f"/proc/{process.pid}/io")
        while int(reading.read_text().split()[1]) < 64 << 20:  # bytes read
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.communicate()[1]) == (130, "")
