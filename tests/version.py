"""The version, and every place that has to have it: `python -m tests.version 0.2.0` sets it.

pyproject.toml is the one that counts. The packages have their own, for a pod has no pyproject.toml,
and asking the installed distribution takes longer than the rest of a keeper's start.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# By file: what stands around it; the version is the group.
PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "fusefs/__init__.py": r'^__version__ = "(.+)"$',
    "webhook/__init__.py": r'^__version__ = "(.+)"$',
    "deploy/image/kustomization.yaml": r"^    newTag: (.+)$",
    "deploy/helm/Chart.yaml": r"^(?:version|appVersion): (.+)$",
}


def number() -> str:
    """Return the version."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def found() -> dict[str, set[str]]:
    """Return what each place has."""
    return {
        name: set(re.findall(pattern, (REPOSITORY / name).read_text(), re.MULTILINE))
        for name, pattern in PLACES.items()
    }


def write(new: str) -> None:
    """Set it everywhere."""
    for name, pattern in PLACES.items():
        path = REPOSITORY / name
        text = path.read_text()
        for match in reversed(list(re.finditer(pattern, text, re.MULTILINE))):
            text = text[: match.start(1)] + new + text[match.end(1) :]
        path.write_text(text)


if __name__ == "__main__":
    if not re.fullmatch(r"\d+\.\d+\.\d+(?:-[\w.]+)?", "".join(sys.argv[1:])):
        raise SystemExit("usage: python -m tests.version MAJOR.MINOR.PATCH")
    write(sys.argv[1])
    print("now: make format, python -m tests.deploy.chart, python -m tests.webhook.goldens")
