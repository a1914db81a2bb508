"""docs/install.md says what the manifests do."""

import re
import shlex
from pathlib import Path

from tests.deploy.rendered import DEPLOY, GUARDED, manifests, overlays

INSTALL = (Path(__file__).parents[2] / "docs" / "install.md").read_text()


def commands(heading: str) -> list[list[str]]:
    """The shell commands below a heading."""
    section = INSTALL.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def deleted() -> list[set[tuple[str, str]]]:
    """What each command of the uninstallation deletes, in order."""
    everything = {(m["kind"].lower(), m["metadata"]["name"]) for m in manifests(GUARDED)}
    steps = []
    for command in commands("Uninstall"):
        assert command[:2] == ["kubectl", "delete"]
        words = [word for word in command[2:] if not word.startswith("--")]
        kind, *names = words
        steps.append(everything if kind == "-k" else {(kind, name) for name in names})
        assert steps[-1] <= everything, "deletes what was never installed"
    return steps


def test_uninstalling_deletes_everything():
    """Nothing with a cluster-wide name stays behind."""
    everything = {(m["kind"].lower(), m["metadata"]["name"]) for m in manifests(GUARDED)}
    assert set().union(*deleted()) == everything


def test_uninstalling_never_leaves_a_webhook_that_nobody_answers():
    """The configuration and the guards go before what they need."""
    gone: set[tuple[str, str]] = set()
    blocking = {("mutatingwebhookconfiguration", "mount-s3-injector")}
    blocking |= {
        (m["kind"].lower(), m["metadata"]["name"])
        for m in manifests(GUARDED)
        if m["kind"].startswith("ValidatingAdmission")
    }
    for step in deleted():
        assert step <= blocking or blocking <= gone
        gone |= step


def test_every_overlay_is_described():
    """By its directory."""
    described = set(re.findall(r"`deploy/(overlays/[a-z-]+)`", INSTALL))
    assert described == set(overlays()) - {"."}


def test_every_command_names_files_that_exist():
    """Paths below deploy/ in any command."""
    words = re.findall(r"deploy/[\w./-]*\w", INSTALL)
    missing = [word for word in words if not (DEPLOY.parent / word).exists()]
    assert missing == []
