"""pjdfstest (github.com/pjd/pjdfstest): 238 scripts with about 8 800 checks of system calls.

Each of its scripts makes a file of each type in a loop. Device files and hard links don't exist
here (docs/semantics.md, "Links and special files"), and one that can't be made fails dozens of
checks after it, so the scripts are run from a copy whose loops leave the two device types out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.foreign import known
from tests.foreign.outcome import Outcome
from tests.foreign.stand import Stand, mounted

LINE = re.compile(r"^(not )?ok (\d+)(.*)")
SECONDS = 900
AT_ONCE = 3
WITHOUT_LINKS = "hard links don't exist"
WITHOUT_DEVICES = "device files don't exist"


def prepare(checkout: Path) -> None:
    """Build its one program, where that hasn't been done."""
    if not (checkout / "pjdfstest").exists():
        for command in (["autoreconf", "-ifs"], ["./configure"], ["make", "pjdfstest"]):
            subprocess.run(command, cwd=checkout, check=True, stdout=subprocess.DEVNULL)


def run(checkout: Path, at: Stand, driver: str, only: str) -> Outcome:
    """Run its scripts, a few at once, each in a directory of its own."""
    outcome = Outcome(known.read("pjdfstest", driver))
    copy = _without_devices(checkout, at.folder / "pjdfstest")
    names = sorted(str(each.relative_to(copy / "tests")) for each in copy.glob("tests/*/*.t"))
    wanted = [name for name in names if only in name]
    scripts = [name for name in wanted if not name.startswith(("link/", "mknod/"))]
    for folder, reason in (("link/", WITHOUT_LINKS), ("mknod/", WITHOUT_DEVICES)):
        outcome.leave_out(f"scripts: {reason}", sum(name.startswith(folder) for name in wanted))
    with mounted(at, at.folder / "ours", driver) as mount, ThreadPoolExecutor(AT_ONCE) as pool:
        outputs = pool.map(lambda name: _one(copy, mount.path, name), scripts)
        for name, output in zip(scripts, outputs, strict=True):
            _note(outcome, name, output)
    return outcome


def _without_devices(checkout: Path, copy: Path) -> Path:
    shutil.copytree(checkout / "tests", copy / "tests")
    shutil.copy2(checkout / "pjdfstest", copy)
    for script in copy.glob("tests/*/*.t"):
        text = script.read_text()
        script.write_text(re.sub(r"(?m)^(\s*for \w+ in [^;]*) block char", r"\1", text))
    return copy


def _one(copy: Path, root: Path, name: str) -> str:
    place = root / name.replace("/", "-")
    place.mkdir()
    command = ["sh", copy / "tests" / name]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "not ok 0 - no end"
    return done.stdout


def _note(outcome: Outcome, name: str, output: str) -> None:
    for line in output.splitlines():
        if match := LINE.match(line):
            failed, number, rest = match.groups()
            good = not failed or "# TODO" in rest
            outcome.check(name, int(number), good=good, said=rest.strip())
