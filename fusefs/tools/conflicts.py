"""`fusefs conflicts`: what writers lost a race with, listed, shown, merged and discarded.

A conflict is two files in `conflicts/` of the cache volume: the bytes that were written, at their
offsets, and the journal that says which those are. Merging lays them over another version of the
file, in a copy: what is kept there is never changed. Main thread only.
"""

import argparse
import errno
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from fusefs.disk.space import Space
from fusefs.errors import SetupError
from fusefs.tools import place
from fusefs.tools.place import SettingsOf
from fusefs.tools.screen import Screen, plural, size
from fusefs.write.staged import Staged

COPIED = 1 << 20  # bytes at a time
DIRECTORY = "conflicts"
SUFFIXES = (".data", ".log")  # bytes and journal; without the journal nobody finds the bytes


class ConflictCommand:
    """The command, its actions and options."""

    name = "conflicts"
    help = "list, show, merge or discard what lost a race against another writer"

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions and options."""
        place.add_mount(parser)
        actions = parser.add_subparsers(dest="action", required=False)
        list_ = actions.add_parser("list", help="all of them (the default)")
        show = actions.add_parser("show", help="which bytes were changed")
        merge = actions.add_parser("merge", help="lay the changes over a version of the file")
        merge.add_argument("--base", type=Path, help="that version; without it, zeros")
        merge.add_argument("--out", type=Path, required=True, help="the file to be made")
        discard = actions.add_parser("discard", help="delete one, or all of them")
        discard.add_argument("--all", action="store_true")
        for action, many in ((show, ""), (merge, ""), (discard, "?")):
            action.add_argument("conflict", nargs=many or None, metavar="NAME")
        for action in (list_, show, merge, discard):
            place.add_mount(action, argparse.SUPPRESS)

    def run(self, args: argparse.Namespace, settings_of: SettingsOf, screen: Screen) -> int:
        """Carry out one action."""
        cache = place.cache_of(args, settings_of)
        if cache is None:
            raise SetupError("name the --cache-dir that the mount has")
        directory = cache / DIRECTORY
        if args.action == "show":
            _show(stem_of(directory, args.conflict), screen)
        elif args.action == "merge":
            merge(stem_of(directory, args.conflict), args.base, args.out)
            screen.line(f"written: {args.out}")
        elif args.action == "discard":
            _discard(directory, args.conflict, args.all, screen)
        else:
            _list(directory, screen)
        return 0


def stem_of(directory: Path, name: str) -> Path:
    """Return a conflict's path without suffix; SetupError if there is none of that name."""
    stem = directory / Path(name).name.removesuffix(".data").removesuffix(".log")
    if not stem.with_suffix(".log").exists():
        raise SetupError(f"no conflict {stem.name} in {directory}: `fusefs conflicts` lists them")
    return stem


def opened(stem: Path, folder: Path) -> Staged:
    """Return a conflict's changes, read from copies in `folder`; SetupError if they're broken."""
    for suffix in SUFFIXES:
        shutil.copy(stem.with_suffix(suffix), folder)
    found = Staged.restore(folder / stem.name, Space(folder, 1 << 62, 0))
    if found is None:
        raise SetupError(f"{stem}.log is no journal that this version can read")
    return found


def merge(stem: Path, base: Path | None, out: Path) -> None:
    """Write the file as its writer wanted it: the changes over `base`.

    It is made beside its place, which it takes when it is whole: a full disk loses nothing.
    """
    _check_out(stem, base, out)
    with tempfile.TemporaryDirectory(dir=stem.parent) as folder, ExitStack() as files:
        ours = opened(stem, Path(folder))
        files.callback(ours.close)
        given = files.enter_context(base.open("rb")) if base is not None else None
        try:
            _make(out.resolve(), given, ours)
        except OSError as error:
            error.filename, error.filename2 = str(out), None
            raise


def _check_out(stem: Path, base: Path | None, out: Path) -> None:
    if not out.exists():
        return
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    if not out.is_file():
        raise SetupError(f"--out {out} is no plain file: name another one")
    if base is not None and base.exists() and out.samefile(base):
        raise SetupError(f"--base and --out are the same file, {out}: name another --out")
    if any(out.samefile(stem.with_suffix(suffix)) for suffix in SUFFIXES):
        raise SetupError(f"--out {out} is the conflict itself: name another file")


def _make(out: Path, base: IO[bytes] | None, ours: Staged) -> None:
    beside = out.with_name(f".merge-{os.getpid()}")
    try:
        with beside.open("xb") as file:
            if base is not None:
                shutil.copyfileobj(base, file, COPIED)
            _lay_over(file, ours)
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def _lay_over(file: IO[bytes], ours: Staged) -> None:
    file.truncate(ours.record.size)
    for start, end in ours.dirty:
        for at in range(start, end, COPIED):
            piece = bytearray(min(COPIED, end - at))
            ours.read(at, memoryview(piece))
            file.seek(at)
            file.write(piece)


def described(stem: Path) -> dict[str, object]:
    """Return what a conflict is about."""
    with tempfile.TemporaryDirectory(dir=stem.parent) as folder:
        ours = opened(stem, Path(folder))
        description = {
            "name": stem.name,
            "key": ours.record.key,
            "size": ours.record.size,
            "changed": [list(each) for each in ours.dirty],
            "whole": ours.whole,
            "base": ours.record.base.etag if ours.record.base is not None else None,
            "kept_at": stem.with_suffix(".log").stat().st_mtime,
        }
        ours.close()
        return description


def _list(directory: Path, screen: Screen) -> None:
    stems = [path.with_suffix("") for path in place.kept(directory, ".log")]
    found = [described(stem) for stem in stems]
    screen.line(f"{directory}: {plural(len(found), 'conflict')}")
    if found:
        rows = [
            (str(each["name"]), str(each["key"]), size(int(str(each["size"]))),
             "whole" if each["whole"] else "changes only: merge them with a base")
            for each in found
        ]  # fmt: skip
        screen.table(("name", "key", "size", "what is kept"), rows)
    if screen.as_json:
        screen.document({"conflicts": found})


def _show(stem: Path, screen: Screen) -> None:
    description = described(stem)
    for name, value in description.items():
        screen.line(f"{name}: {value}")
    if screen.as_json:
        screen.document(description)


def _discard(directory: Path, name: str | None, everything: bool, screen: Screen) -> None:
    if (name is None) is not everything:
        raise SetupError("discard takes the NAME of a conflict, or --all")
    every = [path.with_suffix("") for path in place.kept(directory, ".log")]
    stems = [stem_of(directory, name)] if name else every
    for stem in stems:
        for suffix in SUFFIXES:
            stem.with_suffix(suffix).unlink(missing_ok=True)
    screen.line(f"{plural(len(stems), 'conflict')} discarded")
