"""Where the output of a command goes: a full disk is one line, a reader that went away is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What each writes, and its exit code for a place that takes nothing.
COMMANDS = {
    "certs issue --dns a --out {}/certs": 1,
    "webhook annotations": 2,
    "fusefs options": 2,
    "fusefs conflicts --cache-dir {}": 2,
}


def ended(command: str, place: Path, output: int) -> subprocess.CompletedProcess[str]:
    """Run it as a person does."""
    words = [sys.executable, "-m", *command.format(place).split()]
    return subprocess.run(
        words, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_under_the_output_is_one_line(command: str, tmp_path: Path) -> None:
    """Neither a traceback nor an exit code that says that all is well."""
    with Path("/dev/full").open("w") as full:
        done = ended(command, tmp_path, full.fileno())
    assert "standard output: No space left on device" in done.stderr
    assert (done.stderr.count("\n"), done.returncode) == (1, COMMANDS[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_went_away_is_no_error(command: str, tmp_path: Path) -> None:
    """As with `head -1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = ended(command, tmp_path, write)
    finally:
        os.close(write)
    assert (done.stderr, done.returncode) == ("", 0)
