"""What `kubectl kustomize` makes of a directory of ours, parsed, each directory once."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBECTL = Path(sys.executable).with_name("kubectl")
Manifest = dict[str, Any]
# The base with the guards, whether or not they are part of the installation yet.
GUARDED = "../tests/deploy/guarded"


@cache
def text(overlay: str = ".") -> str:
    """Render a directory under deploy/; kustomize's own error when it can't be."""
    command = [KUBECTL, "kustomize", DEPLOY / overlay]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def manifests(overlay: str = ".") -> list[Manifest]:
    """All objects of a directory, fresh copies each time."""
    return list(yaml.safe_load_all(text(overlay)))


def one(kind: str, name: str, overlay: str = ".") -> Manifest:
    """The only object of that kind and name."""
    (found,) = (m for m in manifests(overlay) if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def overlays() -> list[str]:
    """Every directory somebody may apply: the default one and the overlays."""
    return [".", *(f"overlays/{path.name}" for path in sorted((DEPLOY / "overlays").glob("*/")))]
