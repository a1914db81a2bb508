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
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.foreign import known
from tests.foreign.outcome import Outcome
from tests.foreign.stand import Stand, replaced
from tests.mounts.mount import REPOSITORY
from tests.mounts.table import abort, connection_of, detach

HELPER = Path("/sbin/mount.fuse.s3mount")
SECONDS = 900
NAMES = ("test", "scratch")
# It knows FUSE by the type "fuse" alone, as `df` tells it; and it asks `df` for all mounts of the
# machine, of which one may be dead.
DF = """#!/bin/sh
case "$*" in
    */* | *:*) PROGRAM "$@" ;;
    *) PROGRAM "$@" "$TEST_DIR" "$SCRATCH_MNT" ;;
esac | sed s/fuse.s3mount/fuse/
"""
# What `check` says of one test: name, then seconds, "[not run]" with a reason, or what differs.
RESULT = re.compile(r"(?m)^(generic/\d+)(?=\s)")
NOT_RUN = re.compile(r"\[not run\] ?(.*)")
GOOD = re.compile(r"(\s+(\d+s|\.\.\.))*\s*$")
# Groups of tests that are about other things than files, or take hours by design.
LEFT_OUT = ("dangerous", "soak", "stress", "shutdown", "recoveryloop")


def prepare(checkout: Path) -> None:
    """Build it, where that hasn't been done."""
    if not (checkout / "ltp" / "fsx").exists():
        subprocess.run(["make", "-s"], cwd=checkout, check=True, stdout=subprocess.DEVNULL)


def run(checkout: Path, at: Stand, driver: str, only: str) -> Outcome:
    """Run the quick tests of the group auto whose names contain `only`, one after the other."""
    outcome = Outcome(known.read("xfstests", driver))
    with _helper(at, driver), _places(at) as settings:
        for name, said in _all(checkout, settings, _chosen(checkout, outcome, only)):
            _note(outcome, name, said)
            print(name, *said.split("\n")[:1], flush=True)
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
        bucket = at.endpoint.create_bucket(f"{at.bucket.name}-{name}").name
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
        if not {"auto", "quick"} <= set(groups) or only not in f"generic/{number}":
            continue
        if left := [group for group in LEFT_OUT if group in groups]:
            outcome.leave_out(f"tests of the group {left[0]}")
        else:
            chosen.append(f"generic/{number}")
    return chosen


def _all(checkout: Path, settings: dict[str, str], names: list[str]) -> Iterator[tuple[str, str]]:
    """Run tests; yield the name of each and what was said of it.

    One that doesn't end in time is killed, and the rest runs anew.
    """
    while names:
        for name, said in _some(checkout, settings, names):
            names = names[names.index(name) + 1 :]
            yield name, said
        if names:
            hung, *names = names
            yield hung, f" no end within {SECONDS} s"


def _some(checkout: Path, settings: dict[str, str], names: list[str]) -> Iterator[tuple[str, str]]:
    """Run tests until one doesn't end."""
    log = Path(settings["RESULT_BASE"]).parent / "check.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["./check", *names],
            cwd=checkout,
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield from _as_they_end(child, log)
    finally:
        for place in ("TEST_DIR", "SCRATCH_MNT"):
            _free(Path(settings[place]))
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _as_they_end(child: subprocess.Popen[bytes], log: Path) -> Iterator[tuple[str, str]]:
    told, since = 0, time.monotonic()
    while child.poll() is None and time.monotonic() - since < SECONDS:
        time.sleep(1)
        ended = _results(log)[:-1]  # the last one may be under way
        if len(ended) > told:
            yield from ended[told:]
            told, since = len(ended), time.monotonic()
    ended = _results(log)
    yield from ended[told : len(ended) if child.returncode is not None else -1]


def _results(log: Path) -> list[tuple[str, str]]:
    """Return the tests that a log tells of, and what it says of each."""
    _, *rest = RESULT.split(log.read_text(errors="replace").partition("\nRan: ")[0])
    return list(zip(rest[::2], rest[1::2], strict=True))


def _note(outcome: Outcome, name: str, said: str) -> None:
    if reason := NOT_RUN.search(said):
        outcome.leave_out(f"tests that don't apply: {reason.group(1).strip()}")
        return
    differs = [line.strip() for line in said.splitlines() if line[4:5] in ("+", "-")]
    outcome.check(
        name, 0, good=bool(GOOD.match(said)), said=" | ".join(differs)[:400] or said[:300]
    )
