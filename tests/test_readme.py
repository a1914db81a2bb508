"""README.md is short, and what it says to type works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fusefs.cli import command

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
LINES = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [words for words in LINES if words]


def ours(program: str) -> list[list[str]]:
    """Return the arguments of each command of one of our programs."""
    start = [".venv/bin/python", "-m", program]
    return [words[3:] for words in COMMANDS if words[:3] == start]


def test_it_is_read_in_five_minutes() -> None:
    """At most 120 lines."""
    assert len(TEXT.splitlines()) <= 120


def test_its_links_lead_somewhere() -> None:
    """Every document, and every path in a command."""
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    paths = [word for words in COMMANDS for word in words if word.startswith("deploy/")]
    assert links
    assert [name for name in {*links, *paths} if not (ROOT / name).exists()] == []


def test_every_document_is_linked() -> None:
    """Nobody has to guess what there is."""
    documents = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert documents <= set(re.findall(r"\((docs/[\w.]+)\)", TEXT))


def test_its_make_targets_exist() -> None:
    """`make demo`, `make test`."""
    targets = {words[1] for words in COMMANDS if words[0] == "make"}
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= targets <= known


@pytest.mark.parametrize("words", ours("fusefs"), ids=" ".join)
def test_its_mounts_are_ones_that_start(words: list[str]) -> None:
    """Every option is one there is, with a value that is one."""
    assert command._settings_of(words).store.bucket == "my-bucket"


@pytest.mark.parametrize("words", ours("webhook"), ids=" ".join)
def test_its_looks_at_the_webhook_work(words: list[str]) -> None:
    """As typed, from the repository."""
    done = subprocess.run(
        [sys.executable, "-m", "webhook", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "s3-mount-worker" in done.stdout
