"""The integration suite of s3fs (github.com/s3fs-fuse/s3fs-fuse): a script of 105 functions.

They use a mount through the shell and look at its objects with curl. The functions that run
pjdfstest are left out: it is a suite of its own here. The script runs from a copy of its folder,
and the mount is a directory in that: the functions call their programs as `../../junk_data`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.foreign import known
from tests.foreign.outcome import Outcome
from tests.foreign.stand import Stand, mounted, replaced
from tests.servers.s3 import REGION

MAIN = "integration-test-main.sh"
ADDED = re.compile(r"(?m)^\s*add_tests (test_\w+)$")
# As it mounts s3fs; and what curl has just made is there, for s3fs remembers no listings.
OPTIONS = ("-o", "stat_cache_expire=1,use_xattr=1", "--negative-ttl", "0")
# The store in these tests wants this header, and curl adds it from version 8 on only.
CURL = '#!/bin/sh\nexec PROGRAM --header "x-amz-content-sha256: UNSIGNED-PAYLOAD" "$@"\n'
SECONDS = 1800
SAID = 400


def prepare(checkout: Path) -> None:
    """Build the programs of its tests, where that hasn't been done."""
    for source in (checkout / "test").glob("*.cc"):
        if not source.with_suffix("").exists():
            command = ["g++", "-std=c++17", "-o", source.with_suffix(""), source]
            subprocess.run(command, check=True)


def run(checkout: Path, at: Stand, driver: str, only: str) -> Outcome:
    """Run its script with the functions whose names contain `only`."""
    outcome = Outcome(known.read("s3fs", driver))
    copy = at.folder / "s3fs"
    shutil.copytree(checkout / "test", copy)
    _choose(outcome, copy / MAIN, only)
    with mounted(at, copy, driver, OPTIONS) as mount:
        settings = {
            **os.environ,
            "PATH": replaced(at, "curl", CURL),
            **at.endpoint.credentials.environment(),
            "TEST_BUCKET_1": at.bucket.name,
            "TEST_BUCKET_MOUNT_POINT_1": str(mount.path),
            "TEST_SCRIPT_DIR": str(copy),
            "S3_URL": at.endpoint.url,
            "S3_ENDPOINT": REGION,
            "S3FS_PID": str(mount.child.pid),
            "S3PROXY_CACERT_FILE": "",
        }
        log = at.folder / "s3fs.log"
        with log.open("wb") as output:
            command = ["timeout", str(SECONDS), "bash", f"./{MAIN}"]
            subprocess.run(command, cwd=copy, env=settings, stdout=output, stderr=output)
    _note(outcome, log.read_text(errors="replace"))
    return outcome


def _choose(outcome: Outcome, script: Path, only: str) -> None:
    def kept(match: re.Match[str]) -> str:
        name = match.group(1)
        if "pjdfstest" in name:
            outcome.leave_out("functions that run pjdfstest")
        return match.group() if only in name and "pjdfstest" not in name else ":"

    script.write_text(ADDED.sub(kept, script.read_text()))


def _note(outcome: Outcome, output: str) -> None:
    ended = re.findall(r"(?m)^(PASS|FAIL): (test_\w+)$", output)
    for word, name in ended:
        said = output[: output.find(f"\n{name} failed")].rpartition(f"\n{name}: ")[2]
        said = said[-SAID:].replace("\n", " | ")
        outcome.check(name, 0, good=word == "PASS", said=said)
    if not ended:
        outcome.check("the script", 0, good=False, said=output[-SAID:])
