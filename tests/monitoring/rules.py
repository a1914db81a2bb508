"""The alerts of deploy/monitoring, and promtool, which reads them as Prometheus does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.tools.fetched import tool

REPOSITORY = Path(__file__).parents[2]
MONITORING = REPOSITORY / "deploy/monitoring"


def groups() -> list[dict[str, Any]]:
    """Return the groups of rules, as a rule file has them."""
    document = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    return list(document["spec"]["groups"])


def alerts() -> list[dict[str, Any]]:
    """Return all alerts."""
    return [rule for group in groups() for rule in group["rules"]]


def write(folder: Path) -> Path:
    """Write them as the file that Prometheus itself reads."""
    path = folder / "rules.json"
    path.write_text(json.dumps({"groups": groups()}))
    return path


def promtool(*arguments: str | Path) -> str:
    """Run promtool; return what it says. AssertionError with that, where it fails."""
    done = subprocess.run(
        [tool("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
