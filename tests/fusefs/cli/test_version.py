"""The version: asked for, in the first line of the log, and in what the store's log has of us."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fusefs import __version__

REPOSITORY = Path(__file__).parents[3]
MISSING = ("worker", "--config", "/nowhere/at/all")


def fusefs(*words: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    command = [sys.executable, "-m", "fusefs", *words]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=30, check=False
    )


def test_the_version_can_be_asked_for() -> None:
    """It is that of the package."""
    done = fusefs("--version")
    assert (done.returncode, done.stdout) == (0, f"s3mount {__version__}\n")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_the_log_begins_with_the_version() -> None:
    """As JSON where no terminal is: of what failed, too."""
    first, *_, last = map(json.loads, fusefs(*MISSING).stderr.splitlines())
    assert first["event"] == f"s3mount {__version__}"
    assert last["level"] == "critical"


@pytest.mark.parametrize(("words", "said"), [((), "text"), (("--log-format", "json"), "json")])
def test_a_terminal_gets_sentences_unless_json_is_asked_for(
    words: tuple[str, ...], said: str
) -> None:
    """A person who mounts by hand reads what is wrong in a line of text."""
    ours, theirs = pty.openpty()
    try:
        fusefs(*MISSING, *words, stderr=theirs)
        lines = os.read(ours, 1 << 16).decode().splitlines()
    finally:
        os.close(ours)
        os.close(theirs)
    assert lines[0].startswith("{") == (said == "json")
    assert f"s3mount {__version__}" in lines[0]
