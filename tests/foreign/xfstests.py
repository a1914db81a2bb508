"""The generic tests of xfstests (git.kernel.org/pub/scm/fs/xfs/xfstests-dev).

They mount and unmount by mount(8), so a helper for the type `fuse.s3mount` is written to /sbin for
the time of the run. Most of them are about what an object store doesn't have (block devices,
quotas, freezing, extents, reflinks) and say so themselves. Each runs with a time limit; one that
exceeds it failed. The users that they want (fsgqa, fsgqa2, and a group fsgqa) have to be there.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.foreign import known
from tests.foreign.outcome import Outcome
from tests.foreign.stand import Stand, replaced
from tests.mounts.mount import REPOSITORY
from tests.mounts.table import abort, connection_of, detach

HELPER = Path("/sbin/mount.fuse.s3mount")
SECONDS = 300
NAMES = ("test", "scratch")
# It knows FUSE by the type "fuse" alone, as `df` tells it.
DF = '#!/bin/sh\nPROGRAM "$@" | sed s/fuse.s3mount/fuse/\n'
# What `check` says of one test: name, then seconds, "[not run]" with a reason, or what differs.
NOT_RUN = re.compile(r"(?m)^generic/\d+.*\[not run\] ?(.*)$")
# Groups of tests that are about other things than files, or take hours by design.
LEFT_OUT = ("dangerous", "soak", "stress", "shutdown", "recoveryloop")


def prepare(checkout: Path) -> None:
    """Build it, where that hasn't been done."""
    if not (checkout / "ltp" / "fsx").exists():
        subprocess.run(["make", "-s"], cwd=checkout, check=True, stdout=subprocess.DEVNULL)


def run(checkout: Path, at: Stand, driver: str, only: str) -> Outcome:
    """Run the tests of the group auto whose names contain `only`, one after the other."""
    outcome = Outcome(known.read("xfstests"))
    with _helper(at, driver), _places(at) as settings:
        for name in _chosen(checkout, outcome, only):
            status, output = _one(checkout, settings, name)
            _note(outcome, name, status, output, checkout)
            print(name, status, flush=True)
    return outcome


@contextmanager
def _helper(at: Stand, driver: str) -> Iterator[None]:
    words = [f"{name}={value}" for name, value in at.endpoint.credentials.environment().items()]
    words += [f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.foreign.mounthelper"]
    words += [str(at.folder), at.endpoint.url, driver]
    HELPER.write_text(f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n')
    HELPER.chmod(0o755)
    try:
        yield
    finally:
        HELPER.unlink()


@contextmanager
def _places(at: Stand) -> Iterator[dict[str, str]]:
    """Make a bucket and a directory for each of its two mounts; yield what it is told of them."""
    settings = {
        "PATH": replaced(at, "df", DF),
        "FSTYP": "fuse",
        "FUSE_SUBTYP": ".s3mount",
        "RESULT_BASE": str(at.folder / "results"),
    }
    for name in NAMES:
        bucket = at.endpoint.create_bucket(f"foreign-{name}").name
        (at.folder / name).mkdir()
        settings[f"{name.upper()}_DEV"] = f"s3mount:{bucket}"
        settings["TEST_DIR" if name == "test" else "SCRATCH_MNT"] = str(at.folder / name)
    try:
        yield settings
    finally:
        for name in NAMES:
            _free(at.folder / name)


def _free(mountpoint: Path) -> None:
    while (connection := connection_of(mountpoint)) is not None:
        abort(connection)
        detach(mountpoint)


def _chosen(checkout: Path, outcome: Outcome, only: str) -> list[str]:
    chosen = []
    for line in (checkout / "tests/generic/group.list").read_text().splitlines():
        number, *groups = line.split() or ["#"]
        if "auto" not in groups or only not in f"generic/{number}":
            continue
        if left := [group for group in LEFT_OUT if group in groups]:
            outcome.leave_out(f"tests of the group {left[0]}")
        else:
            chosen.append(f"generic/{number}")
    return chosen


def _one(checkout: Path, settings: dict[str, str], name: str) -> tuple[int, str]:
    child = subprocess.Popen(
        ["./check", name],
        cwd=checkout,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        return child.wait(SECONDS), child.communicate()[0]
    except subprocess.TimeoutExpired:
        for place in ("TEST_DIR", "SCRATCH_MNT"):
            _free(Path(settings[place]))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return -1, f"no end within {SECONDS} s"


def _note(outcome: Outcome, name: str, status: int, output: str, checkout: Path) -> None:
    if reason := NOT_RUN.search(output):
        outcome.leave_out(f"tests that don't apply: {reason.group(1).strip()}")
        return
    said = " | ".join(line.strip() for line in output.splitlines() if line[4:5] in "+-")[:400]
    outcome.check(name, 0, good=status == 0, said=said or output[-300:].replace("\n", " | "))
